"""Export one language of a DistilWhisper as a plain Whisper, for faster-whisper, whisper.cpp and other Whisper tools.

    python examples/export_whisper.py distilwhisper-base-ru --language ru --data "prompts/{language}" \
        --output_dir whisper-base-ru
    ct2-transformers-converter --model whisper-base-ru --output_dir whisper-base-ru-ct2 \
        --copy_files tokenizer.json preprocessor_config.json    # for faster-whisper

A plain Whisper cannot choose a path for each token, so each layer gets one path, by how its gates route the tokens of
the given audio. Three ways are tried: the expert if the majority of tokens takes it ("majority"), a mean of both paths'
weights by their shares ("mean"), experts in all layers ("experts"). The one with the lowest WER on that audio is saved.
`distilwhisper export` has the same flags. It also compares the exports with the routed model, keeps the transcripts,
and writes all scores to export.json.
"""

import sys
import tempfile

import torch

from modeling_distilwhisper import (
    DistilWhisperForConditionalGeneration,
    SpeechCollator,
    count_errors,
    export_to_whisper,
    keep_usable,
    load_processor,
    measure_expert_usage,
    parse_sources,
    transcribe_rows,
)
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.export_whisper import parse
from modeling_distilwhisper.evaluation.gates import batches_of
from modeling_distilwhisper.export.whisper import WAYS, code_in_export, save_processor
from modeling_distilwhisper.runs.records import RecordFile


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    language = arguments.language
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        arguments.model, languages=[language], dtype=torch.float32
    )
    model.to(arguments.device).eval()
    processor = load_processor(arguments.model)

    # The audio that decides: rows with audio, text and language.
    (source,) = parse_sources([arguments.data], [language])
    rows = source.read(arguments.split, language)
    rows = rows.select(range(min(len(rows), arguments.max_rows or len(rows))))
    rows, _ = keep_usable(rows, processor, model.config.max_target_positions)

    # A plain Whisper is asked for the language by this code: that of a relative, if Whisper has no token for it.
    code = code_in_export(model, language, arguments.as_language)
    of_exports = rows.remove_columns("language").add_column("language", [code] * len(rows))

    # The share of tokens that takes the expert, by layer: usage["encoder 0"] and so on.
    batches = batches_of(rows, SpeechCollator(processor), arguments.batch_size, arguments.device)
    usage = measure_expert_usage(model, batches)

    # A plain Whisper for each way: 1 is the expert's path, 0 the shared path, a share between them is a mean of both.
    exports, wers = {}, {}
    for way, share_of_expert in WAYS.items():
        shares = {(side, layer): share_of_expert(usage[f"{side} {layer}"]) for side, layer in model.routed_layers()}
        exports[way] = export_to_whisper(model, language, shares, arguments.as_language)
        with tempfile.TemporaryDirectory() as folder:
            file = RecordFile(f"{folder}/transcripts.jsonl")
            decoding = {"batch_size": arguments.batch_size, "num_beams": arguments.num_beams}
            records = transcribe_rows(file, exports[way], processor, of_exports, **decoding)
        references, hypotheses = ([record[side] for record in records] for side in ("reference", "hypothesis"))
        wers[way] = count_errors(references, hypotheses, arguments.normalizer, language).rates()["wer"]
        print(f"{way}: WER {wers[way]:.3f}")

    best = min(wers, key=wers.__getitem__)
    exports[best].save_pretrained(arguments.output_dir)
    save_processor(processor, arguments.output_dir, model.config.vocab_size)  # in the files that other tools read
    print(f"Exported: {best}, to {arguments.output_dir}, to be asked for {code}")


if __name__ == "__main__":
    sys.exit(main())
