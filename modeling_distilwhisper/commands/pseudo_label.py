"""Label speech that has no transcripts, by any Whisper, and choose by scores what a training may learn from.

    distilwhisper pseudo-label radio --model distilwhisper-small-gl --language gl --output_dir labelled

    distilwhisper train --student openai/whisper-small --languages gl --data "recordings/{language}" \
        --train_data labelled --train_data_weight 0.5 --output_dir distilwhisper-small-gl-2

Takes files and folders, as `transcribe` does, or with `--data` corpora, whose texts are not read. Long recordings are
cut at pauses into utterances of up to 30 s. The output folder is a corpus: FLAC files, and train/metadata.jsonl with
the labels that are kept, their scores and their weight in the loss. The scores need no reference: mean and lowest
log-probability of the tokens, probabilities of no speech and of the language, compression ratio, characters in a
second, and, with a second model or decoding, the WER between both texts. labels.jsonl has all labels: with other
filters the command writes the corpus anew, and labels nothing twice. If it was interrupted, it continues. A recording
that cannot be read is reported and does not stop the others. Several processes share the work
(`torchrun --nproc_per_node=2 -m modeling_distilwhisper pseudo-label ...`).
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data.rows import SPLITS
from ..data.sources import SPEC_FORM
from ..data.voice import find_detector
from ..runs.any_whisper import adapted_base, weights_digest
from ..runs.detection import WHISPER
from ..runs.language_codes import chosen_languages
from ..runs.precision import TRANSCRIBING
from ..runs.processes import begin, gather, is_main_process, on_main, require_same, share
from ..runs.run_folder import RunFolder
from ..transcription.batched import one_ahead
from ..transcription.label_filters import LEAST_LOGPROB, Filters, score_number, score_share
from ..transcription.labelled_corpus import LISTING, SPLIT, LabelledCorpus
from ..transcription.pseudo_labels import Speech
from .command_line import DEVICE, add_detection, command, make_parser, own_names
from .labelling.models import Models
from .labelling.report import write_report
from .labelling.speech import DETECT, OF_FOLDERS, Unlabelled, read_speech

NAMED = 20  # recordings that are named when they could not be labelled; the report has all


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    begin(arguments.output_dir)
    adapted_base(arguments.model)  # a LoRA adapter needs PEFT, an extra: an error now, before any work
    models = Models(arguments)
    if detects_otherwise(arguments):
        models.choice()  # loads the model: candidates that it cannot detect are an error now, before any file
    on_main(RunFolder, arguments.output_dir, {"run": settings_of(arguments)})
    speech, failures = read_speech(arguments, models.known)
    names = [one.name for one in speech]
    require_same("speech to label", names)
    corpus = LabelledCorpus(arguments.output_dir)
    done = on_main(corpus.done, {one.name: one.size for one in speech})
    missing = share([one for one in speech if one.name not in done])
    failures |= label(missing, corpus, models, arguments)
    corpus.file.merge()
    failures = dict(gather([*failures.items()]))
    if is_main_process():
        corpus.put_in_order(names)
        publish(corpus, names, failures, arguments)


def detects_otherwise(arguments: argparse.Namespace) -> bool:
    """Whether languages are to be detected in another way than Whisper's own."""
    return bool(arguments.candidate_languages) or arguments.detection != WHISPER


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What decides the labels in an output folder. The filters do not: they may change."""
    settings = {"model": arguments.model, "weights": weights_digest(arguments.model)}
    settings |= {"recordings": [*map(str, arguments.recordings)], "data": arguments.data, "split": arguments.split}
    settings |= {name: getattr(arguments, name) for name in ("language", "vad", "num_beams", "precision")}
    settings |= {name: getattr(arguments, name) for name in ("second_model", "second_num_beams", "second_temperature")}
    if detects_otherwise(arguments):  # folders of before have neither
        settings |= {name: getattr(arguments, name) for name in ("candidate_languages", "detection")}
    if arguments.second_model:
        settings["second_weights"] = weights_digest(arguments.second_model)
    return settings


def label(
    missing: list[Unlabelled], corpus: LabelledCorpus, models: Models, arguments: argparse.Namespace
) -> dict[str, str]:
    """Labels recordings, and adds each to the corpus when it is done; returns why others could not be labelled."""
    failures: dict[str, str] = {}
    if not missing:
        return failures
    labeller, detector = models.labeller, find_detector(arguments.vad)
    limit = labeller.processor.feature_extractor.n_samples

    def read_each() -> Iterator[Speech]:
        for one in sorted(missing, key=lambda one: -(one.size or 0)):
            try:
                samples = one.read()
                yield Speech(one, samples, one.windows(samples, detector, limit), one.language)
            except Exception as error:  # whatever a damaged file may cause: it must not stop the others
                failures[one.name] = f"{type(error).__name__}: {error}"

    with tqdm(total=len(missing), unit="recording", desc="Labelled", disable=not is_main_process()) as bar:
        labeller.on_batch = lambda seconds: bar.set_postfix_str(f"{seconds:.0f} s of speech")
        for speech, labels in labeller(one_ahead(read_each())):
            one = speech.key
            try:
                if isinstance(labels, Exception):
                    raise labels
                corpus.add(one.name, speech.samples, speech.windows, labels, size=one.size, about=one.about)
            except ValueError as error:
                failures[one.name] = str(error)
            except RuntimeError as error:  # of the model
                failures[one.name] = f"{type(error).__name__}: {error}"
            bar.update()
        bar.update(len(failures))
    return failures


def publish(corpus: LabelledCorpus, names: list[str], failures: dict[str, str], arguments: argparse.Namespace) -> None:
    """Filters the labels, writes the corpus of those that are kept, and reports.

    Raises:
        ValueError: none is kept.
    """
    rows, silent = corpus.rows(names), corpus.silent(names)
    reasons = arguments.filters.reasons(rows)
    kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    corpus.write_listing(kept, arguments.weight)
    text = write_report(
        corpus.folder,
        rows,
        reasons,
        filters=arguments.filters.as_dict(),
        weight=arguments.weight,
        recordings=len({*names, *failures}),
        silent=silent,
        failures=failures,
    )
    print(f"\n{text}\n\n{len(kept)} of {len(rows)} labels are kept: {corpus.folder / SPLIT / LISTING}")
    print(f"The report: {corpus.folder}/report.md, report.json and scores.png.")
    for name in silent[:NAMED]:
        print(f"Without speech: {name}", file=sys.stderr)
    for name, reason in [*failures.items()][:NAMED]:
        print(f"Left out: {name}: {reason}", file=sys.stderr)
    if (more := max(len(silent) - NAMED, 0) + max(len(failures) - NAMED, 0)) > 0:
        print(f"And {more} more: {corpus.folder}/report.json names them.", file=sys.stderr)
    if not kept:
        raise ValueError(
            f"No label is kept, of {len(rows)}: {corpus.folder} is no corpus to train on. report.md says why; change "
            "the filters (--at_least, --at_most, --best), which labels nothing again."
        )


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("recordings", nargs="*", type=Path, help="files and folders")
    parser.add_argument("--data", nargs="+", default=[], help=f"in place of recordings: corpora, {SPEC_FORM}")
    parser.add_argument("--split", default=SPLITS[0], choices=SPLITS, help="of the corpora")
    parser.add_argument("--model", required=True, help="folder or Hub id of a multilingual Whisper")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder of the labelled corpus")
    parser.add_argument(
        "--language",
        nargs="+",
        default=[DETECT],
        help="a code (several for --data); or for recordings 'folder', its name, or 'detect', once for a recording",
    )
    add_detection(parser)
    parser.add_argument("--num_beams", type=int, default=1, help="width of the beam; 1 is greedy decoding")
    parser.add_argument("--second_model", help="another Whisper, whose texts are compared with the labels")
    parser.add_argument("--second_num_beams", type=int, help="a second decoding, by a beam of this width")
    parser.add_argument("--second_temperature", type=float, help="a second decoding, drawn at this temperature: slow")
    parser.add_argument(
        "--at_least",
        nargs="*",
        type=score_number,
        default=[("mean_logprob", LEAST_LOGPROB)],
        help="thresholds of scores; by default mean_logprob=-1",
    )
    parser.add_argument(
        "--at_most", nargs="*", type=score_number, default=[], help="thresholds of scores, such as disagreement=0.3"
    )
    parser.add_argument(
        "--best",
        nargs="*",
        type=score_share,
        default=[],
        help="shares of the labels to keep in each language, such as mean_logprob=0.7",
    )
    parser.add_argument("--keep_doubtful", action="store_true", help="keep texts that `transcribe` would drop")
    parser.add_argument("--weight", type=float, default=1.0, help="of each label in the loss of a training")
    parser.add_argument("--max_rows", type=int, help="at most this many recordings, or rows of each corpus, for a try")
    parser.add_argument("--batch_size", type=int, default=8, help="utterances that are labelled at a time")
    parser.add_argument("--vad", default="silero", help="finds speech in recordings, as for `transcribe`")
    parser.add_argument("--precision", choices=TRANSCRIBING, default="auto", help="precision of the weights")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    arguments = parser.parse_args(argv)
    if arguments.language != [DETECT] and detects_otherwise(arguments):
        parser.error("--candidate_languages and --detection need --language detect")
    second = arguments.second_model, arguments.second_num_beams, arguments.second_temperature
    if second[1] is not None and second[2] is not None:
        parser.error("--second_num_beams and --second_temperature are two decodings. Give one of them.")
    if not second[0] and second[1] == arguments.num_beams:
        parser.error(f"--second_num_beams: expected another width than that of the labels, got {second[1]}.")
    at_least, at_most, best = dict(arguments.at_least), dict(arguments.at_most), dict(arguments.best)
    if "disagreement" in {**at_least, **at_most, **best} and second == (None, None, None):
        parser.error("A filter is for disagreement, and there is no second text. Give --second_model or a decoding.")
    try:
        arguments.filters = Filters(at_least, at_most, best, arguments.keep_doubtful)
    except ValueError as error:
        parser.error(str(error))
    if not {*arguments.language} & {*OF_FOLDERS}:
        own = own_names(vars(arguments), arguments.language)  # such as de-CH, if the model has experts of it
        arguments.language = chosen_languages(arguments.language, own)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
