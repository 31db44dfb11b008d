"""Cards say what was measured, in a form that the Hub reads; what somebody wrote into a card is not lost."""

import csv
import json
import re
import shlex
import shutil

import pytest
from huggingface_hub import ModelCard
from remote import run_without_the_package
from scripts import EXAMPLES, run_script
from training import load

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.card_tables import language_name, percent, table_of
from modeling_distilwhisper.data import Source
from modeling_distilwhisper.model_card import card_of_run, hub_id, place_of, save_card, sizes
from modeling_distilwhisper.trainer import DistilWhisperTrainer
from modeling_distilwhisper.training_args import DistilWhisperTrainingArguments

CARDS = EXAMPLES.parent / "model_cards"
TEMPLATE = CARDS / "template.md"
SIZES = ("3k", "10k", "28k")
HEADINGS = ["Use", "Results", "Training", "Gates", "Size", "Limits", "Citation"]


@pytest.fixture
def results():
    """Of the quickstart's run."""
    return json.loads((CARDS / "quickstart.json").read_text())


@pytest.fixture
def summary():
    """As `run_eval.py` writes it: two models on a data set that the run knows, and one on another."""

    def score(system, data_set, wer, **other):
        about = {"system": system, "data_set": data_set, "split": "test", "language": "ca", "cer": wer / 2}
        return about | {"wer": wer, "words": 2000, "utterances": 90, "normalizer": "paper", **other}

    wide = {"wer_low": 0.1, "wer_high": 0.3}
    scores = [score("base", "in-domain", 0.5), score("ours", "in-domain", 0.2, **wide), score("ours", "a|b", 0.4)]
    about = {"of": "ours", "less that of": "base", "data_set": "in-domain", "split": "test", "language": "ca"}
    difference = about | {"difference": -0.3, "low": -0.41, "high": -0.2, "real": True, "utterances": 90}
    return {"scores": scores, "differences": [difference, difference | {"of": "base", "less that of": "ours"}]}


def make(results, **settings):
    return card_of_run(results, TEMPLATE, **{"name": "me/model", **settings})


def tables(card):
    """Rows of every table in the card, as mappings from a column's name to its cell."""
    rows = []
    for block in re.findall(r"(?:^\|.*\n)+", card.text, re.MULTILINE):
        header, _, *lines = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in block.splitlines()
        ]
        rows += [dict(zip(header, line, strict=True)) for line in lines]
    return rows


def test_the_cards_in_the_repository_are_what_their_commands_write_today(tmp_path):
    shutil.copytree(CARDS, tmp_path / "model_cards")
    before = {path.name: path.read_text() for path in CARDS.glob("*.md")}
    commands = re.search(r"```bash\n(.*?)```", before.pop("README.md"), re.DOTALL)[1].replace("\\\n", "")
    made = [tmp_path / "model_cards" / name for name in before if name != "template.md"]
    for path in made:
        path.unlink()
    for command in commands.splitlines():
        python, script, *arguments = shlex.split(command.replace("model_cards", str(tmp_path / "model_cards")))
        assert python == "python"
        code, _, errors = run_script(script.removeprefix("examples/"), *arguments)
        assert code == 0, errors[-3000:]
    assert len(made) == 4
    for path in made:
        assert path.read_text() == before[path.name], (
            f"{path.name} is out of date: model_cards/README.md makes it again"
        )


@pytest.mark.parametrize("name", ["quickstart", *(f"multilingual-distilwhisper-{size}" for size in SIZES)])
def test_a_card_is_whole_and_reads_as_it_was_written(name):
    card = ModelCard.load(CARDS / f"{name}.md")
    assert str(ModelCard(str(card))) == str(card) == (CARDS / f"{name}.md").read_text()
    data = card.data.to_dict()
    assert data["pipeline_tag"] == "automatic-speech-recognition" and data["library_name"] == "transformers"
    assert data["metrics"] == ["wer", "cer"] and "distilwhisper" in data["tags"] and data["license"]
    headings = re.findall(r"^## (.*)", card.text, re.MULTILINE)
    assert headings == HEADINGS
    for section in re.split(r"^## .*\n", card.text, flags=re.MULTILINE):
        assert len(section.split()) > 20, "nothing fell out of the template"
    prose = re.sub(r"```.*?```", "", card.text, flags=re.DOTALL)
    assert not re.search(r"\bNone\b|\bnan\b|[{}]|\(\)|/tmp|/home", prose)
    assert 'languages=["' in card.text and "trust_remote_code=True" in card.text


def test_the_hub_reads_languages_scores_and_intervals(results):
    card = ModelCard(str(make(results, license="apache-2.0")))
    data = card.data
    assert data.language == ["ca", "hu", "uk"] and data.license == "apache-2.0" and data.model_name == "me/model"
    found = {(one.dataset_name, one.dataset_config, one.metric_type): one for one in data.eval_results}
    after = results["scores"]["after"]
    assert len(found) == 2 * 2 * 3 and {code for _, code, _ in found} == {"ca", "hu", "uk"}, (
        "what was not trained is plain"
    )
    for name, scores in after.items():
        for code in ("ca", "hu", "uk"):
            wer, cer = (found[f"{name}, {language_name(code)}", code, metric] for metric in ("wer", "cer"))
            own = scores[code]
            assert (wer.metric_value, cer.metric_value) == (round(100 * own["wer"], 2), round(100 * own["cer"], 2))
            low, high = f"{100 * own['wer_low']:.1f}", f"{100 * own['wer_high']:.1f}"
            assert (
                wer.metric_name == f"WER in % (95 % interval {low} to {high}; {own['words']} words, normaliser marks)"
            )
            assert (wer.dataset_split, wer.task_type) == ("test", "automatic-speech-recognition")


def test_every_measured_number_stands_in_its_table(results):
    rows = tables(make(results))
    for place, (name, scores) in enumerate(results["scores"]["after"].items()):
        shown = [row for row in rows if "words" in row][5 * place : 5 * place + 5]
        for row, code in zip(shown, scores, strict=True):
            trained = code in ("ca", "hu", "uk")
            assert row["language"] == language_name(code) + ("" if trained else ", not trained")
            for key, column in {"before": "without experts", "after": "with experts", "teacher": "teacher"}.items():
                assert row[column] == percent(results["scores"][key][name][code]) and " to " in row[column]
    hours = {row["language"]: row for row in rows if "train, hours" in row}
    assert hours["Catalan (ca)"] == {
        "corpus": "in-domain",
        "language": "Catalan (ca)",
        "train, utterances": "420",
        "train, hours": "0.18",
        "validation, utterances": "20",
        "validation, hours": "0.01",
    }
    gates = {row["language"]: row for row in rows if "encoder" in row}
    opened = results["openness at inference"]["hu"]
    assert gates["Hungarian (hu)"] == {"language": "Hungarian (hu)"} | {
        side: f"{100 * opened[side]:.0f}" for side in ("encoder", "decoder", "all")
    }
    files = {row["language"]: row for row in rows if "file, MB" in row}
    assert files["Ukrainian (uk)"]["parameters, M"] == "0.56" and files["Ukrainian (uk)"]["file, MB"] == "2.3"


def test_scores_of_earlier_experts_are_not_shown_as_those_of_plain_whisper(results):
    results["settings"]["model"]["experts_from"] = "/somewhere/compressed"
    scores = results["scores"]
    for own in scores["before"].values():
        own["ca"]["wer"] = 0.333  # of plain Whisper, which the gates are shut for, it is another
    rows = [row for row in tables(make(results)) if "words" in row]
    for number, name in enumerate(scores["after"]):
        catalan, *_, english, spanish = rows[5 * number : 5 * number + 5]
        assert catalan["without experts"] == percent(scores["gates shut"][name]["ca"])
        assert catalan["with earlier experts"] == percent(scores["before"][name]["ca"])
        assert catalan["with experts"] == percent(scores["after"][name]["ca"])
        for row, code in ((english, "en"), (spanish, "es")):
            assert row["without experts"] == percent(scores["before"][name][code])
            assert row["with earlier experts"] == "-"
    assert "Training went on from experts that were there, `compressed`;" in make(results).text
    del scores["gates shut"]
    rows = [row for row in tables(make(results)) if "words" in row]
    assert [row["without experts"] for row in rows[:3]] == ["-"] * 3 and rows[3]["without experts"] != "-"
    results["settings"]["model"]["experts_from"] = "me/compressed"
    assert "[me/compressed](https://huggingface.co/me/compressed)" in make(results).text


def test_domains_are_told_apart_by_what_was_trained_on(results):
    text = make(results).text
    assert "**in-domain** (in domain: the model was trained on its train split)" in text
    assert "**out-of-domain** (out of domain: the model was not trained on it)" in text
    assert "It was tested on the corpora that it was trained on only" not in text
    for scores in results["scores"].values():
        del scores["out-of-domain"]
    assert "It was tested on the corpora that it was trained on only" in make(results).text


def test_hub_ids_come_from_what_the_run_used_and_folders_are_not_taken_for_them(results, tmp_path, monkeypatch):
    results["settings"]["model"] |= {"student": "openai/whisper-small", "teacher": "openai/whisper-large-v2"}
    corpora = ["in-domain=common_voice:somewhere/cv-corpus-13.0-2023-03-09?train=10000", "f=fleurs:google/fleurs"]
    results["settings"]["data"]["data"] = [*corpora, "r=my/recordings/{language}", "h=hub:org/speech?config={language}"]
    card = make(results)
    assert card.data.base_model == "openai/whisper-small"
    assert card.data.datasets == ["mozilla-foundation/common_voice_13_0", "google/fleurs", "org/speech"]
    assert "[openai/whisper-large-v2](https://huggingface.co/openai/whisper-large-v2)" in card.text
    assert card.data.eval_results[0].dataset_type == "mozilla-foundation/common_voice_13_0"
    (tmp_path / "openai/whisper-small").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    card = make(results)
    assert card.data.base_model is None and "The Whisper `whisper-small` with" in card.text
    assert hub_id("/some/where") is None and hub_id("whisper") is None


@pytest.mark.parametrize("name", ["../student", "./student", "a/..", "a/.b", ".a/b", "a/b..c", "a/b/c", "a/b c", ""])
def test_a_path_that_leads_nowhere_from_here_is_no_hub_id(results, name):
    assert hub_id(name) is None
    results["settings"]["model"]["student"] = name
    assert make(results).data.base_model is None
    assert hub_id("openai/whisper-large-v3.1_x") == "openai/whisper-large-v3.1_x"


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("f=fleurs:some/folder", ("google/fleurs", "hu_hu")),
        ("h=hub:org/speech?config={language}_all", ("org/speech", "hu_all")),
        ("cv=common_voice:releases/cv-corpus-17.0-2024-03-15.tar.gz", ("mozilla-foundation/common_voice_17_0", "hu")),
        ("my words=recordings/{language}", ("my-words", "hu")),
    ],
)
def test_the_hub_is_told_a_data_set_by_its_own_name_and_part(corpus, expected):
    source = Source.parse(corpus)
    assert place_of(source.name, "hu", source) == expected
    assert place_of("my words", "hu", None) == ("my-words", "hu"), "a test set of an evaluation alone"


def test_common_voice_is_told_in_its_own_codes_where_they_are_not_whispers():
    source = Source.parse("cv=common_voice:releases/cv-corpus-13.0-2023-03-09")
    found = [place_of("cv", code, source)[1] for code in ("sv", "zh", "pa", "jw", "gl")]
    assert found == ["sv-SE", "zh-CN", "pa-IN", "jv", "gl"]


def test_an_evaluation_takes_the_place_of_the_runs_scores_where_it_has_any(results, summary):
    card = make(results, evaluation=summary, system="ours")
    found = {(one.dataset_name, one.metric_type): one for one in card.data.eval_results}
    assert found["in-domain, Catalan (ca)", "wer"].metric_value == 20.0
    assert "normaliser paper" in found["in-domain, Catalan (ca)", "wer"].metric_name
    assert ("in-domain, Hungarian (hu)", "wer") not in found, "scores of another kind do not mix in one table"
    assert found["out-of-domain, Hungarian (hu)", "wer"].metric_value == 55.46
    assert found["a|b, Catalan (ca)", "wer"].metric_name == "WER in % (2000 words, normaliser paper)", "no interval"
    rows = tables(card)
    assert [row for row in rows if "base" in row] == [
        {
            "language": "Catalan (ca)",
            "utterances": "90",
            "words": "2000",
            "base": "50.0",
            "with experts": "20.0 (10.0 to 30.0)",
            "CER with experts": "10.0",
        }
    ]
    assert [row for row in rows if "against" in row] == [
        {
            "data set": "in-domain",
            "language": "Catalan (ca)",
            "against": "base",
            "points of WER": "-30.0 (-41.0 to -20.0)",
            "beyond chance": "yes",
        }
    ]


def test_an_evaluation_of_another_split_leaves_the_runs_test_scores_where_they_are(results, summary):
    for row in (*summary["scores"], *summary["differences"]):
        row["split"] = "validation"
    card = make(results, evaluation=summary, system="ours")
    found = {(one.dataset_name, one.dataset_split): one for one in card.data.eval_results if one.metric_type == "wer"}
    assert found["in-domain, Catalan (ca)", "validation"].metric_value == 20.0
    expected = round(100 * results["scores"]["after"]["in-domain"]["ca"]["wer"], 2)
    assert found["in-domain, Catalan (ca)", "test"].metric_value == expected
    assert "**in-domain, validation** (in domain" in card.text and "**in-domain** (in domain" in card.text
    assert [row["data set"] for row in tables(card) if "against" in row] == ["in-domain, validation"]


def test_each_table_names_its_normaliser_where_there_are_several(results, summary):
    titles = r"\*\*(.*?)\*\* \(.*?; normalised by `(\w+)`\)"
    assert not re.findall(titles, make(results).text), "one for all is told above the tables"
    text = make(results, evaluation=summary, system="ours").text
    expected = {"in-domain": "paper", "a|b": "paper", "out-of-domain": "marks"}
    assert dict(re.findall(titles, text)) == expected


def test_an_evaluation_of_something_else_is_refused(results, summary):
    with pytest.raises(ValueError, match="The evaluation has no model 'theirs'. It has: base, ours"):
        make(results, evaluation=summary, system="theirs")
    translated = {"scores": [{"system": "ours", "bleu": 20.0}]}
    with pytest.raises(ValueError, match="The evaluation is of translations"):
        make(results, evaluation=translated, system="ours")
    results["settings"]["model"]["method"] = "lora"
    with pytest.raises(ValueError, match="Expected a run of --method experts, .* got 'lora'"):
        make(results)


def test_groups_of_speakers_are_shown_where_a_study_ran_and_else_named_as_a_limit(results):
    unexamined = "Whether it serves some speakers worse than others"
    assert unexamined in make(results).text
    rows = [
        {"language": "ca", "female": 21.25, "male": 18.0, "p": 0.03125, "too small": False},
        {"language": "hu|x", "female": None, "male": float("nan"), "p": 1.0, "too small": True},
    ]
    card = make(results, bias=rows)
    assert unexamined not in card.text and "### Groups of speakers" in card.text
    assert [row for row in tables(card) if "female" in row] == [
        {"language": "ca", "female": "21.2", "male": "18", "p": "0.0312", "too small": "False"},
        {"language": "hu\\|x", "female": "-", "male": "-", "p": "1", "too small": "True"},
    ]
    for wrong in ([1, 2], [{"a": [1]}]):
        with pytest.raises(ValueError, match=r"Expected (rows of a table|a number or text in each cell)"):
            table_of(wrong)


def test_a_run_from_before_there_were_cards_gets_one(results):
    for part in ("data", "sizes"):
        del results[part]
    for own in results["scores"].values():
        for rates in (rates for scores in own.values() for rates in scores.values()):
            del rates["wer_low"], rates["wer_high"]
    card = ModelCard(str(make(results)))
    assert len(card.data.eval_results) == 12 and " to " not in tables(card)[0]["with experts"]
    assert "file, MB" not in card.text and "hours" not in card.text


PARTS = {
    "openness at inference": "Gates",
    "scores": "Results",
    "sizes": "Size",
    "training": None,
    "best by language": None,
}


@pytest.mark.parametrize("missing", [*([part] for part in PARTS), list(PARTS)], ids=lambda parts: parts[-1])
@pytest.mark.parametrize("empty", [True, False], ids=["empty", "absent"])
def test_a_card_leaves_out_what_a_run_does_not_have(results, missing, empty):
    results["settings"]["training"]["load_best_model_at_end"] = True  # or "best by language" is not read
    for part in missing:
        del results[part]
        if empty:
            results[part] = {}
    card = ModelCard(str(make(results)))
    headings = re.findall(r"^## (.*)", card.text, re.MULTILINE)
    assert headings == [name for name in HEADINGS if name not in [PARTS[part] for part in missing]]
    assert bool(card.data.eval_results) == ("scores" not in missing)
    assert ("minutes since" in card.text) == ("training" not in missing)
    assert "Teacher: `teacher`, by Jensen-Shannon" in card.text
    assert not re.search(r"\bNone\b|\n\n\n|normalised by ``|[^\n]\n##", card.text)


def test_a_run_without_scores_shows_those_of_its_evaluation(results, summary):
    results["scores"] = {"before": {}, "after": {}}
    assert "## Results" not in make(results).text
    card = make(results, evaluation=summary, system="ours")
    assert len(card.data.eval_results) == 4 and "normalised by `paper` (Whisper's" in card.text
    assert "\n\n## Results\n\n### Groups of speakers\n\n|" in make(results, bias=[{"female": 1}]).text
    del results["settings"]["training"]
    assert "Teacher: `teacher`.\n\n## Gates" in make(results).text, "how is not known"


def test_how_it_was_trained_is_told_as_it_was(results):
    settings, training = results["settings"]["model"], results["settings"]["training"]
    text = make(results).text
    assert "Teacher: `teacher`, by Jensen-Shannon divergence at temperature 1, weight 10. 7 epochs" in text
    assert "the budget was 90 %" in text and "The experts are those of the last step." in text
    settings |= {"teacher": None, "language_budgets": ["ca=0.7"], "gate_training": "soft"}
    training |= {"load_best_model_at_end": True, "max_steps": 40}
    results["best by language"] = {"ca": {"step": 30, "score": 0.123}}
    text = make(results).text
    assert "No teacher: cross-entropy on the transcripts alone (CLSR-FT). 40 steps" in text
    assert "(ca=0.7)" in text and "In training gates decided soft" in text
    assert "those of its best WER in validation (Catalan (ca) 12.3 after 30 steps)" in text
    settings["teacher_cache"] = "cache"
    assert "Teacher: a cache of its outputs, by Jensen-Shannon divergence" in make(results).text


def test_scores_on_a_quantised_backbone_are_called_so_and_those_on_a_whole_one_are_not(results, summary):
    assert not re.search("quantised|precision", str(make(results)))
    results["settings"]["model"]["student_precision"] = "nf4"
    card = make(results)
    assert all(re.search(r"normaliser marks, precision nf4\)$", one.metric_name) for one in card.data.eval_results)
    assert card.text.count("; in `nf4`)") == 2 and "Where a table says `nf4`, Whisper's own weights were" in card.text
    assert "Whisper's own weights were in `nf4` while the experts learned" in card.text
    card = make(results, evaluation=summary | {"dtype": "float32"}, system="ours")
    names = {one.dataset_name: one.metric_name for one in card.data.eval_results}
    assert names["in-domain, Catalan (ca)"].endswith("normaliser paper)")
    assert names["out-of-domain, Catalan (ca)"].endswith("normaliser marks, precision nf4)")
    assert re.findall(r"\*\*([\w-]+)\*\* \(.*; in `nf4`\)", card.text) == ["out-of-domain"]
    card = make(results, evaluation=summary | {"dtype": "bfloat16"}, system="ours")
    names = {one.dataset_name: one.metric_name for one in card.data.eval_results}
    assert names["in-domain, Catalan (ca)"].endswith("normaliser paper, precision bfloat16)")


def test_precisions_and_ranks_of_a_training_are_told(results):
    text, settings = make(results).text, results["settings"]["model"]
    assert "rank" not in text and "mixed" not in text and "through one feed-forward" in text
    results["teacher precision"] = "torch.float32"
    assert make(results).text == text
    results["teacher precision"] = "torch.float16"
    assert "Teacher: `teacher` in `float16`, by Jensen-Shannon" in make(results).text
    del results["teacher precision"]
    settings |= {"teacher_precision": "int8", "expert_rank": 16}
    results["settings"]["training"]["bf16"] = True
    text = make(results).text
    assert "Teacher: `teacher` in `int8`, by Jensen-Shannon" in text and "mixed precision (bfloat16)" in text
    assert "; rank 16 for Catalan (ca), 16 for Hungarian (hu), 16 for Ukrainian (uk)." in text
    assert "through one feed-forward" not in text
    settings |= {"expert_rank": 0, "experts_from": "/compressed"}  # that had ranks of their own
    results["sizes"]["experts"]["hu"]["rank"] = 64
    assert "; rank 64 for Hungarian (hu)." in make(results).text


def test_the_rank_is_that_of_the_experts_whatever_the_config_says(whisper_dir, tmp_path):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], expert_rank=4)
    model.save_pretrained(tmp_path)
    model.config.expert_rank = 0
    assert sizes(model, tmp_path)["experts"]["gl"]["rank"] == 4
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"])
    model.save_pretrained(tmp_path)
    assert sizes(model, tmp_path)["experts"]["gl"]["rank"] == 0


@pytest.mark.parametrize("size", SIZES)
def test_figures_of_the_report_are_all_there_and_called_so(size):
    card = ModelCard.load(CARDS / f"multilingual-distilwhisper-{size}.md")
    assert card.data.eval_results is None, "the model index is for what was measured on this very checkpoint"
    assert "this package measured none of them" in card.text
    assert card.data.base_model == "openai/whisper-small"
    with open(EXAMPLES / "paper/report.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = [row for row in tables(card) if "trained on" in row]
    half = len(rows) // 2
    shown = {
        (data_set, row["model"], row["trained on"].replace(" ", "")): row
        for data_set, own in {"cv13": rows[:half], "fleurs": rows[half:]}.items()
        for row in own
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
    mark = next(line for line in written.splitlines() if "sha256" in line)
    edits = {
        "words with the comment left in": written + "Speakers are from Lugo.\n",
        "a letter less": written.replace("experts", "expert", 1),
        "front matter": written.replace("language:", "license: mit\nlanguage:", 1),
        "no comment": written.replace(mark, ""),
        "no digest": str(make(results)),
        "the comment of another card": "Mine. " + mark,
        "nothing of it": "Mine.",
    }
    for edit, own in edits.items():
        path.write_text(own)
        assert not save_card(make(results), path) and path.read_text() == own, edit
    path.write_text(own := edits["words with the comment left in"])
    code, _, errors = run_script("make_card.py", tmp_path)
    assert code != 0 and "it was edited, or not written from results. For a new one, delete or move it." in errors
    assert path.read_text() == own
    path.unlink()
    assert run_script("make_card.py", tmp_path)[0] == 0
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
