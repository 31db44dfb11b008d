"""A language that Whisper has no token for: before, by each token that it has; after training; and all that stays.

    distilwhisper train --student examples/quickstart/teacher --languages eo --init_from eo=es \
        --data "examples/new_language/{language}" --learning_rate 3e-3 --gate_budget 0.9 --output_dir esperanto
    python benchmarks/new_language.py examples/quickstart/teacher esperanto eo \
        --data "examples/new_language/{language}" --others ca hu uk en es \
        --other_data "examples/quickstart/in_domain/{language}" --commit ... --output results/new_language.json

Before training, the test split is transcribed by every language token of the plain Whisper, and the best one counts,
chosen on the test split itself: a user could do no better. After it, the others' test rows are transcribed by the plain
Whisper and by the model with the new experts, and token ids are compared. Adds its part to the output file.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from machine import machine
from tqdm.auto import tqdm

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, count_errors, load_model, load_processor
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.data.samples import samples_of_row
from modeling_distilwhisper.data.selection import read_rows
from modeling_distilwhisper.data.sources import parse_sources
from modeling_distilwhisper.languages_distilwhisper import known_languages
from modeling_distilwhisper.runs.files import write_atomically

BATCH = 20


def main() -> int:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    plain = load_model(arguments.plain, "float32")
    model = DistilWhisperForConditionalGeneration.from_pretrained(arguments.model, dtype=torch.float32).eval()
    processor = load_processor(arguments.model)
    rows = {
        language: read_rows(source, "test", language, max_rows=arguments.max_rows, processor=processor).rows
        for data, languages in ((arguments.data, [arguments.language]), (arguments.other_data, arguments.others))
        for source in parse_sources([data or arguments.data], languages)
        for language in languages
    }
    spoken = rows[arguments.language]
    texts, features = spoken["text"][:], features_of(processor, spoken)
    tokens = known_languages(plain)
    wers = {}
    for code in tqdm(arguments.tokens or tokens, desc="By each token", unit="language"):
        hypotheses, _ = transcribe(plain, processor, features, code)
        wers[code] = count_errors(texts, hypotheses, languages=[arguments.language] * len(texts)).rates()["wer"]
    best = min(wers, key=lambda code: wers[code])
    scores = {}
    for name, whisper, code in (("before", plain, best), ("after", model, arguments.language)):
        hypotheses, _ = transcribe(whisper, processor, features, code)
        counts = count_errors(texts, hypotheses, languages=[arguments.language] * len(texts))
        low, high = counts.wer_interval() or (None, None)
        scores[name] = {"wer": counts.rates()["wer"], "low": low, "high": high, "words": counts.rates()["words"]}
    kept = {}
    for other in arguments.others:
        of_other = features_of(processor, rows[other])
        _, before = transcribe(plain, processor, of_other, other)
        _, after = transcribe(model, processor, of_other, other)
        detected = [whisper.detect_language(of_other.input_features) for whisper in (plain, model)]
        kept[other] = {
            "recordings": len(before),
            "same tokens": sum(one == two for one, two in zip(before, after, strict=True)),
            "same detection": int((detected[0] == detected[1]).sum()),
        }
    run = {
        "student": arguments.name or Path(arguments.plain).name,
        "language": arguments.language,
        "commit": arguments.commit,
        "machine": machine(),
        "recordings": len(texts),
        "best token": best,
        "tokens tried": len(wers),
        "wer by token": {code: round(wer, 4) for code, wer in sorted(wers.items(), key=lambda item: item[1])},
        "scores": scores,
        "others": kept,
        "seconds": round(time.perf_counter() - started, 1),
    }
    path = Path(arguments.output)
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"details": {}}
    runs = content["details"] | {f"{run['student']} {arguments.language}": run}
    write_atomically(path, json.dumps(described(runs, run), indent=1, ensure_ascii=False) + "\n")
    print(json.dumps({key: value for key, value in run.items() if key != "wer by token"}, indent=1))
    return 0


def described(runs: dict[str, dict], last: dict) -> dict:
    """The file of results: all runs, and the table of them."""
    columns = [{"title": "student"}, {"title": "language"}, {"title": "recordings"}, {"title": "best token before"}]
    columns += [{"title": "WER before", "digits": 3}, {"title": "after", "digits": 3}]
    columns += [{"title": "other languages: same tokens"}, {"title": "same detection"}]
    rows = []
    for run in runs.values():
        before, after = ([run["scores"][name][key] for key in ("wer", "low", "high")] for name in ("before", "after"))
        others = run["others"].values()
        counts = [sum(other[key] for other in others) for key in ("same tokens", "same detection", "recordings")]
        kept = [f"{count} of {counts[-1]}" for count in counts[:-1]]
        rows.append([run["student"], run["language"], run["recordings"], run["best token"], before, after, *kept])
    return {
        "title": "A language that Whisper has no token for",
        "commit": last["commit"],
        "date": time.strftime("%Y-%m-%d"),
        "machine": last["machine"],
        "minutes": round(sum(run["seconds"] for run in runs.values()) / 60, 1),
        "facts": {f"tokens tried, {run['student']}": run["tokens tried"] for run in runs.values()},
        "settings": {"command": "benchmarks/new_language.py"},
        "tables": {"languages": {"columns": columns, "rows": rows}},
        "details": runs,
    }


def features_of(processor, rows):
    return speech_features(processor, [samples_of_row(row["audio"]) for row in rows])


@torch.inference_mode()
def transcribe(model, processor, features, language: str) -> tuple[list[str], list[list[int]]]:
    """Texts, and token ids without padding."""
    tokens: list[list[int]] = []
    end = model.config.eos_token_id
    for first in range(0, len(features.input_features), BATCH):
        batch = {name: value[first : first + BATCH] for name, value in features.items()}
        generated = model.generate(**batch, language=language, task="transcribe").tolist()
        tokens += [[token for token in row if token != end] for row in generated]
    return processor.batch_decode(tokens, skip_special_tokens=True), tokens


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plain", help="folder of the plain Whisper")
    parser.add_argument("model", help="folder of the trained model")
    parser.add_argument("language", help="the new name")
    parser.add_argument("--data", required=True, help="corpus, as for the commands")
    parser.add_argument("--other_data", help="corpus of the other languages, if another")
    parser.add_argument("--others", nargs="*", default=[], help="languages that must stay as they are")
    parser.add_argument("--tokens", nargs="*", help="languages whose tokens are tried before training; by default all")
    parser.add_argument("--max_rows", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--name", help="of the student in the results")
    parser.add_argument("--commit", required=True)
    parser.add_argument("--output", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
