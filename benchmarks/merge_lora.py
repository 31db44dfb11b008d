"""Merge a LoRA adapter into its Whisper: one language, with the time and the size of a plain Whisper.

    python benchmarks/merge_lora.py output/lora output/lora-merged

As an adapter, LoRA computes two more products at each of its matrices, and one Whisper serves all languages. Merged, it
costs no time, and each language is a complete Whisper. `distilwhisper benchmark quality` measures both.
"""

import json
import sys
from pathlib import Path

from peft import PeftModel
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import load_processor
from modeling_distilwhisper.runs.any_whisper import adapted_base
from modeling_distilwhisper.runs.files import is_taken, staged_folder


def main(adapter: str, output: str) -> None:
    base = adapted_base(adapter)
    if base is None or is_taken(output):
        raise SystemExit(f"Expected a folder with a LoRA adapter and a new folder, got {adapter} and {output}.")
    whisper = WhisperForConditionalGeneration.from_pretrained(base)
    merged = PeftModel.from_pretrained(whisper, adapter).merge_and_unload()
    with staged_folder(output) as staged:
        merged.save_pretrained(staged)
        load_processor(adapter).save_pretrained(staged)
        # As `distilwhisper export` does: a Whisper of one language is known by this file.
        Path(staged, "export.json").write_text(json.dumps({"way": "LoRA, merged"}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
