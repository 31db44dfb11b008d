"""Where the tokens go: the share that takes the expert, by model, corpus, language, side and layer.

    python examples/run_gates.py --models distilwhisper-base-ru --data prompts/{language} --languages ru \
        --output_dir gates

Writes gates.json, a picture of the shares over the layers, and for each model, corpus and language one of the gates of
the first utterance: over its time in the encoder, over its tokens in the decoder (section 5.5).
"""

import json
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import torch
from tabulate import tabulate
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import AutoConfig, HfArgumentParser, WhisperProcessor

from .. import DistilWhisperConfig, DistilWhisperForConditionalGeneration
from ..data import keep_usable, parse_sources
from ..data.collate import SpeechCollator
from ..evaluation.gates import gates_of_utterance, measure_expert_usage
from ..reporting.figures import draw_expert_usage, draw_gates
from ..runs.any_whisper import name_models
from ..runs.files import file_name, write_whole
from ..runs.settings import parse_settings


@dataclass
class GateArguments:
    models: list[str] = field(metadata={"help": "[name=]folder or Hub id, of models with language experts."})
    data: list[str] = field(metadata={"help": "[name=][folder:|common_voice:|fleurs:|hub:]location[?setting=value]"})
    languages: list[str] = field(metadata={"help": "Codes of languages that the models have experts for."})
    output_dir: str = field(metadata={"help": "Folder of gates.json and the pictures."})
    split: str = field(default="test", metadata={"help": "train, validation or test."})
    batch_size: int = field(default=8, metadata={"help": "Utterances at a time."})
    device: str = field(
        default="cuda" if torch.cuda.is_available() else "cpu", metadata={"help": "Where the models run."}
    )
    max_rows: int | None = field(default=None, metadata={"help": "At most so many rows of each language."})


def main(argv: list[str] | None = None) -> None:
    (arguments,) = parse_settings(HfArgumentParser(GateArguments), sys.argv[1:] if argv is None else argv)
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    models, sources = name_models(arguments.models), parse_sources(arguments.data, arguments.languages)
    found, lines, budgets = [], {}, set()
    for name, location in models.items():
        config = AutoConfig.from_pretrained(location)
        known = config.languages if isinstance(config, DistilWhisperConfig) else []
        languages = [language for language in dict.fromkeys(arguments.languages) if language in known]
        if len(languages) < len(set(arguments.languages)):
            print(f"{name} has experts for {known}: of {arguments.languages} only {languages} are measured.")
        if not languages:
            continue
        model = DistilWhisperForConditionalGeneration.from_pretrained(location, languages=languages)
        model = model.to(arguments.device).eval()
        collate = SpeechCollator(WhisperProcessor.from_pretrained(location))
        budgets.add(model.config.gate_budget)
        for source, language in product(sources, languages):
            title = f"{name} {source.name} {language}"
            rows = source.read(arguments.split, language)
            rows = rows.select(range(min(arguments.max_rows or len(rows), len(rows))))
            rows, left_out = keep_usable(rows, collate.processor, model.config.max_target_positions)
            if not len(rows):
                raise ValueError(f"No usable row of {source.name} {arguments.split} {language}: {dict(left_out)}.")
            batches = DataLoader(rows, batch_size=arguments.batch_size, collate_fn=collate)
            there = (on(model, batch) for batch in tqdm(batches, desc=title))
            lines[title] = measure_expert_usage(model, there)
            about = {"model": name, "data_set": source.name, "language": language, "split": arguments.split}
            found.append({**about, "utterances": len(rows), **lines[title]})
            write_whole(folder / "gates.json", json.dumps(found, indent=2, ensure_ascii=False) + "\n")
            draw_utterance(model, collate, rows[0], folder / f"{file_name(title)}.png")
    if not lines:
        raise ValueError(f"None of {list(models)} has an expert for any of {arguments.languages}: no gates to measure.")
    draw_expert_usage(lines, sorted(budgets), folder / "expert_usage.png")
    print(tabulate(found, headers="keys", floatfmt=".2f"))
    print(f"\nAlso: {folder}/gates.json, and as pictures: {folder}/*.png")


def on(model, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(model.device) for name, value in batch.items()}


def draw_utterance(model, collate: SpeechCollator, row: dict, path: Path) -> None:
    batch = on(model, collate([row]))
    gates = {side: values.cpu().numpy() for side, values in gates_of_utterance(model, batch).items()}
    tokenizer = collate.processor.tokenizer
    tokens = [tokenizer.decode([token]).strip() or "␣" for token in batch["labels"][0].tolist()]
    draw_gates(gates, row["seconds"], tokens, path, title=row["text"])


if __name__ == "__main__":
    main()
