"""Measure expert usage: the share of tokens that is routed to the expert, by model, corpus, language, side and layer.

    distilwhisper gates --models distilwhisper-base-ru --data "prompts/{language}" --languages ru --output_dir gates

Writes gates.json, a picture of expert usage by language, model and corpus (as the report's Figure 14), one over the
layers, and for each model, corpus and language a picture of the gates of the first utterance: over its time in the
encoder, over its tokens in the decoder (section 5.5). Where the thresholds of a model followed the budget
(--gate_training hard), its usage is the budget's by construction, and table and pictures say so. To compare usage
between languages, corpora or methods, give models with soft gates.
"""

import json
import sys
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from tabulate import tabulate
from transformers import AutoConfig

from ..configuration_distilwhisper import DistilWhisperConfig
from ..data.collate import SpeechCollator
from ..data.selection import read_rows
from ..data.sources import SPEC_FORM, parse_sources
from ..evaluation.gates import BUDGET, batches_of, gates_of_utterance, measure_expert_usage, on_device, usage_set_by
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..runs.any_whisper import load_processor, name_models
from ..runs.files import file_name, write_atomically
from ..runs.lock import hold
from ..runs.old_names import read_json
from ..runs.run_folder import FORMS, SETTINGS
from .command_line import DEVICE, command, import_figures, parse_dataclasses


@dataclass
class GateArguments:
    """The settings of a measurement of gates."""

    models: list[str] = field(metadata={"help": "[name=]folder or Hub id, of models with language experts."})
    data: list[str] = field(metadata={"help": SPEC_FORM})
    languages: list[str] = field(metadata={"help": "Codes of languages that the models have experts for."})
    output_dir: str = field(metadata={"help": "Folder for gates.json and the pictures."})
    split: str = field(default="test", metadata={"help": "train, validation or test."})
    batch_size: int = field(default=8, metadata={"help": "Utterances at a time."})
    device: str = field(default=DEVICE, metadata={"help": "Where the models run: cpu, cuda, mps."})
    max_rows: int | None = field(default=None, metadata={"help": "At most this many rows of each language."})


@command
def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, GateArguments)
    models, sources = name_models(arguments.models), parse_sources(arguments.data, arguments.languages)
    folder, figures = Path(arguments.output_dir), import_figures()
    hold(folder)
    table, usages = [], {}
    for name, location in models.items():
        languages = languages_to_measure(name, location, arguments.languages)
        if not languages:
            continue
        model = DistilWhisperForConditionalGeneration.from_pretrained(location, languages=languages)
        model = model.to(arguments.device).eval()
        collate = SpeechCollator(load_processor(location))
        for source, language in product(sources, languages):
            selection = read_rows(
                source,
                arguments.split,
                language,
                max_rows=arguments.max_rows,
                processor=collate.processor,
                max_tokens=model.config.max_target_positions,
                purpose="measure gates on",
            )
            title = f"{name} {source.name} {language}"
            batches = batches_of(selection.rows, collate, arguments.batch_size, arguments.device, selection.title)
            usages[title] = measure_expert_usage(model, batches)
            row = {"model": name, "data_set": source.name, "language": language, "split": arguments.split}
            row |= {"method": method_of(location, language), "budget": model.config.budget_of(language)}
            row |= {"usage is set by": usage_set_by(model, language), "utterances": len(selection.rows)}
            table.append(row | usages[title])
            write_atomically(folder / "gates.json", json.dumps(table, indent=2, ensure_ascii=False) + "\n")
            if figures is not None:
                draw_utterance(figures, model, collate, selection.rows[0], folder / f"{file_name(title)}.png")
    if not usages:
        raise ValueError(f"None of {list(models)} has an expert for any of {arguments.languages}: no gates to measure.")
    print(tabulate(table, headers="keys", floatfmt=".2f"))
    if note := note_on_budgets(table):
        print(f"\n{note}")
    pictures = ""
    if figures is not None:
        draw(figures, table, usages, folder)
        pictures = f", and as pictures: {folder}/*.png"
    print(f"\nAlso: {folder}/gates.json{pictures}")


def languages_to_measure(name: str, location: str, languages: list[str]) -> list[str]:
    """Those of the languages that a model has experts for; says so where it is not all of them."""
    config = AutoConfig.from_pretrained(location)
    known = list(config.languages or ()) if isinstance(config, DistilWhisperConfig) else []
    measured = [language for language in dict.fromkeys(languages) if language in known]
    if len(measured) < len(set(languages)):
        print(f"{name} has experts for {known}: of {languages} only {measured} are measured.")
    return measured


def method_of(location: str, language: str) -> str | None:
    """The report's name of the method by which a run trained a language; `None` if no run of its folder did."""
    file = Path(location, SETTINGS)
    settings = read_json(file, FORMS[SETTINGS]).get("model", {}) if file.is_file() else {}
    if language not in settings.get("languages", ()):
        return None
    return "DistilWhisper" if settings.get("teacher") or settings.get("teacher_cache") else "CLSR-FT"


def note_on_budgets(table: list[dict]) -> str | None:
    """A sentence on the models whose usage is the budget's by construction; `None` if there are none."""
    models = dict.fromkeys(row["model"] for row in table if row["usage is set by"] == BUDGET)
    if not models:
        return None
    return (
        f"The thresholds of {', '.join(models)} followed the budget in training, so the usage is the budget's by "
        "construction: it says nothing of language, data or method. Figure 14 of the report needs models that were "
        "trained with --gate_training soft."
    )


def draw(figures, table: list[dict], usages: dict[str, dict[str, float]], folder: Path) -> None:
    """Draws expert usage over the layers, and by language, model and corpus; `figures` is `reporting.figures`."""
    is_set = [row["usage is set by"] == BUDGET for row in table]
    set_by_budget = [title for title, is_it in zip(usages, is_set, strict=True) if is_it]
    budgets = sorted({row["budget"] for row in table})
    figures.draw_expert_usage(usages, budgets, folder / "expert_usage.png", set_by_budget=set_by_budget)
    rows = [row | {"is_set_by_budget": is_it} for row, is_it in zip(table, is_set, strict=True)]
    figures.draw_usage_by_model(rows, folder / "usage_by_model.png")


def draw_utterance(figures, model, collate: SpeechCollator, row: dict, path: Path) -> None:
    """Draws the gates of one utterance; `figures` is the module `reporting.figures`."""
    batch = on_device(collate([row]), model.device)
    gates = {side: values.cpu().numpy() for side, values in gates_of_utterance(model, batch).items()}
    tokenizer = collate.processor.tokenizer
    tokens = [tokenizer.decode([token]).strip() or "␣" for token in batch["labels"][0].tolist()]
    figures.draw_gates(gates, row["seconds"], tokens, path, title=row["text"])


if __name__ == "__main__":
    sys.exit(main())
