"""Label speech that has no transcripts, by any Whisper, and choose by scores what a training may learn from.

    python examples/pseudo_label.py recordings --model distilwhisper-small-gl --language gl --output_dir labelled
    python examples/run_distil.py --student openai/whisper-small --languages gl --data "recordings/{language}" \
        --train_data labelled --output_dir distilwhisper-small-gl-2

Takes files and folders. Long recordings are cut at pauses into utterances of up to 30 s. No score needs a reference.
`distilwhisper pseudo-label` has the same flags. It also labels corpora (`--data`), continues after an interruption,
does not stop at a damaged recording, and writes a report with the spread of each score.
"""

import sys

from modeling_distilwhisper import PseudoLabeller, load_model, load_processor, read_audio
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.pseudo_label import parse
from modeling_distilwhisper.data.voice import all_of_it, find_detector
from modeling_distilwhisper.transcription.labelled_corpus import LabelledCorpus
from modeling_distilwhisper.transcription.pseudo_labels import Speech
from modeling_distilwhisper.transcription.recordings import find_recordings
from modeling_distilwhisper.transcription.windows import cut_windows


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)

    # Any Whisper: if it has experts, each recording is routed to those of its language.
    model = load_model(arguments.model, arguments.precision, arguments.device)
    processor = load_processor(arguments.model)
    known = {token.strip("<|>") for token in model.generation_config.lang_to_id}
    recordings = find_recordings(arguments.recordings, arguments.output_dir, arguments.language[0], known)

    # Each recording with its utterances: windows of up to 30 s, which end at pauses.
    speech = []
    for recording in recordings:
        samples = read_audio(recording.path)
        spans = (find_detector(arguments.vad) or all_of_it)(samples)
        windows = cut_windows(spans, processor.feature_extractor.n_samples)
        name = recording.target.relative_to(arguments.output_dir).as_posix()
        speech.append(Speech(name, samples, windows, recording.language))

    # Texts, and how sure the model is of each. Utterances are written as FLAC, under names that come from no file name.
    corpus = LabelledCorpus(arguments.output_dir)
    labeller = PseudoLabeller(model, processor, batch_size=arguments.batch_size, num_beams=arguments.num_beams)
    for one, labels in labeller(speech):
        if isinstance(labels, Exception):
            raise labels
        corpus.add(one.key, one.samples, one.windows, labels)

    # The filters choose by the scores. What they keep is a corpus: `read_folder` reads it, and so does a training.
    rows = corpus.rows([one.key for one in speech])
    reasons = arguments.filters.reasons(rows)
    kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    corpus.write_listing(kept, arguments.weight)
    for row, reason in zip(rows, reasons, strict=True):
        print(f"{row['id']} ({row['scores']['mean_logprob']}): {row['text']}" + (f" [{reason}]" if reason else ""))
    print(f"{len(kept)} of {len(rows)} labels are kept.")


if __name__ == "__main__":
    sys.exit(main())
