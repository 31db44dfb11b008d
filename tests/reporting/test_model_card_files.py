"""Cards as files: those of the repository, their code, and that what somebody wrote into one is not lost."""

import csv
import json
import re

import pytest
from helpers.cards import AUTHORS, SIZES, make, tables
from helpers.remote import run_without_the_package
from helpers.scripts import EXAMPLES, run_command
from helpers.training import load
from huggingface_hub import ModelCard

from modeling_distilwhisper.reporting.model_card import save_card
from modeling_distilwhisper.training.arguments import DistilWhisperTrainingArguments
from modeling_distilwhisper.training.trainer import DistilWhisperTrainer


@pytest.mark.parametrize("size", SIZES)
def test_figures_of_the_report_are_all_there_and_called_so(size):
    card = ModelCard.load(AUTHORS[f"multilingual-distilwhisper-{size}"])
    assert card.data.eval_results is None, "the model index is for what was measured on this very checkpoint"
    assert "this package measured none of them" in card.text
    assert card.data.base_model == "openai/whisper-small"
    with open(EXAMPLES / "paper/report.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [row for row in tables(card) if "trained on" in row]
    half = len(rows) // 2
    shown = {
        (data_set, row["model"], row["trained on"].replace(" ", "")): row
        for data_set, set_rows in {"cv13": rows[:half], "fleurs": rows[half:]}.items()
        for row in set_rows
    }
    assert len(shown) == len(rows) >= 10
    checked = 0
    for (data_set, model, trained_on), row in shown.items():
        about = {"data_set": data_set, "model": model, "train_data": trained_on}
        for code in row.keys() - {"model", "trained on", "avg"}:
            printed = {line["wer"] for line in lines if about.items() <= line.items() and line["language"] == code}
            assert printed == {row[code]}, (about, code)
            checked += 1
    assert checked == len(rows) * {"3k": 15, "10k": 8, "28k": 3}[size]
    averages = {
        trained_on: row["avg"]
        for (name, model, trained_on), row in shown.items()
        if model == "DistilWhisper" and name == "fleurs"
    }
    assert (
        averages
        == {
            "3k": {"cv3k": "29.2", "cv3k+fleurs": "18.3"},
            "10k": {"cv10k": "22.8", "cv10k+fleurs": "16.7"},
            "28k": {"cv28k": "15.4", "cv28k+fleurs": "11.4"},
        }[size]
    )


@pytest.mark.slow
def test_the_code_in_a_card_runs_where_the_package_is_not(results, model, processor, tmp_path):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    card = make(results, name="model")
    blocks = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    assert len(blocks) == 2
    one_thread = "\nimport numpy, torch\ntorch.set_num_threads(1)\n"  # tests run side by side
    code = one_thread + "print(model.config.languages)\n".join(blocks)
    printed = run_without_the_package(code.replace('"talk.wav"', "numpy.zeros(16000, 'float32')"), tmp_path)
    assert printed[0] == "['ca']" and len(printed) == 2


def test_a_card_that_somebody_made_their_own_is_left_alone(results, tmp_path):
    path = tmp_path / "README.md"
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert save_card(make(results), path)
    written = path.read_text()
    assert re.sub("sha256: [0-9a-f]{64} -->", "sha256: - -->", written) == str(make(results))
    assert save_card(make(results, note="Mind this."), path) and "> Mind this." in path.read_text()
    assert save_card(make(results), path) and path.read_text() == written, "of the same results the same"
    comment = next(line for line in written.splitlines() if "sha256" in line)
    edits = {
        "words with the comment left in": written + "Speakers are from Lugo.\n",
        "a letter less": written.replace("experts", "expert", 1),
        "front matter": written.replace("language:", "license: mit\nlanguage:", 1),
        "no comment": written.replace(comment, ""),
        "no digest": str(make(results)),
        "the comment of another card": "Mine. " + comment,
        "nothing of it": "Mine.",
    }
    for edit, text in edits.items():
        path.write_text(text)
        assert not save_card(make(results), path) and path.read_text() == text, edit
    path.write_text(text := edits["words with the comment left in"])
    code, _, errors = run_command("card", tmp_path)
    assert (
        code != 0
        and "was edited, or not written from results, and stays as it is. For a new card, delete or move it." in errors
    )
    assert path.read_text() == text
    path.unlink()
    assert run_command("card", tmp_path)[0] == 0
    assert ModelCard.load(path).data.model_name == tmp_path.name


def test_saving_a_model_keeps_the_folders_card(model, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\nMine, with é.\n", encoding="utf-8")
    before = card.read_bytes()
    model.save_pretrained(tmp_path)
    assert card.read_bytes() == before


def test_the_trainers_own_short_card_takes_no_better_ones_place(whisper_dir, processor, recordings, tmp_path):
    arguments = DistilWhisperTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    trainer = DistilWhisperTrainer(load(whisper_dir, ["gl"]), arguments, processing_class=processor, eval_dataset=[])
    trainer.create_model_card(model_name="short")
    assert "short" in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("mine")
    trainer.create_model_card(model_name="short")
    assert (tmp_path / "README.md").read_text() == "mine"


@pytest.mark.parametrize(("size", "amount"), [("3k", "500"), ("10k", "1,000"), ("28k", "1,000")])
def test_the_authors_cards_say_how_many_utterances_their_lists_have(size, amount):
    text = ModelCard.load(AUTHORS[f"multilingual-distilwhisper-{size}"]).text
    assert f"on {amount} validation utterances of Common Voice" in " ".join(text.split())
