"""Measure expert usage: the share of tokens that is routed to the expert, by model, corpus, language, side and layer.

    python examples/run_gates.py --models distilwhisper-base-ru --data prompts/{language} --languages ru \
        --output_dir gates
    python examples/run_gates.py --models distilwhisper-quickstart --languages ca hu uk --output_dir quickstart-gates \
        --data in=examples/quickstart/in_domain/{language} out=examples/quickstart/out_of_domain/{language}

Writes gates.json and a picture of expert usage over the layers (section 5.5). `distilwhisper gates` has the same flags.
It also draws usage by model and corpus, and the gates of single utterances, and works without matplotlib.
"""

import json
import sys
from itertools import product
from pathlib import Path

from tabulate import tabulate

from modeling_distilwhisper import (
    DistilWhisperForConditionalGeneration,
    SpeechCollator,
    keep_usable,
    load_processor,
    measure_expert_usage,
    parse_sources,
)
from modeling_distilwhisper.commands.command_line import command, parse_dataclasses
from modeling_distilwhisper.commands.gates import GateArguments
from modeling_distilwhisper.evaluation.gates import BUDGET, batches_of, usage_set_by
from modeling_distilwhisper.reporting.figures import draw_expert_usage
from modeling_distilwhisper.runs.any_whisper import name_models


@command
def main(argv: list[str], prog: str) -> None:
    (arguments,) = parse_dataclasses(__doc__, argv, prog, GateArguments)
    sources = parse_sources(arguments.data, arguments.languages)
    table, usages, budgets, set_by_budget = [], {}, set(), []

    for name, location in name_models(arguments.models).items():
        # Only these languages' experts are loaded. One that the model does not have is an error.
        model = DistilWhisperForConditionalGeneration.from_pretrained(location, languages=arguments.languages)
        model.to(arguments.device).eval()
        processor = load_processor(location)
        budgets.add(model.config.gate_budget)

        for source, language in product(sources, arguments.languages):
            # The model reads the reference transcripts: rows must fit its window and its longest text.
            rows = source.read(arguments.split, language)
            rows = rows.select(range(min(len(rows), arguments.max_rows or len(rows))))
            rows, _ = keep_usable(rows, processor, model.config.max_target_positions)
            batches = batches_of(rows, SpeechCollator(processor), arguments.batch_size, arguments.device)

            # Shares from 0 to 1: "encoder", "decoder", "all", "encoder 0" and so on.
            usage = measure_expert_usage(model, batches)
            usages[title := f"{name} {source.name} {language}"] = usage
            # Thresholds that followed the budget in training make usage the budget's, whatever the gates have learned.
            if usage_set_by(model, language) == BUDGET:
                set_by_budget.append(title)
            row = {"model": name, "data_set": source.name, "language": language, "split": arguments.split}
            table.append({**row, "utterances": len(rows), **usage})

    print(tabulate(table, headers="keys", floatfmt=".2f"))
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gates.json").write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draw_expert_usage(usages, sorted(budgets), folder / "expert_usage.png", set_by_budget=set_by_budget)


if __name__ == "__main__":
    sys.exit(main())
