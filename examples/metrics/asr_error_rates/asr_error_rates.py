"""The scores of this package for those who work with `evaluate`:

evaluate.load("examples/metrics/asr_error_rates").compute(references=..., predictions=..., normalizer="report")
"""

import datasets
import evaluate

from modeling_distilwhisper.evaluation.metrics import count_errors

DESCRIPTION = "Word and character error rates of a corpus, with counts, a bootstrap interval and the normaliser's name."
CITATION = ""
INPUTS = """
Args:
    references, predictions: as many texts, in the same order.
    normalizer: "marks" or "report".
    languages: Whisper's code of all texts, or a list of them.
Returns:
    wer, cer, wer_low and wer_high (95 %), words, hits, substitutions, deletions, insertions, loop_rate, empty_rate,
    utterances, normalizer.
"""


class AsrErrorRates(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features(references=text, predictions=text),
        )

    def _compute(self, references, predictions, normalizer="marks", languages=None) -> dict:
        counts = count_errors(references, predictions, normalizer, languages)
        low, high = counts.wer_interval() or (None, None)
        return counts.rates() | {"wer_low": low, "wer_high": high}
