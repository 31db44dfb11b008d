"""A card shows what was measured, in a form that the Hub reads."""

import re
import shlex
import shutil

import pytest
from helpers.cards import AUTHORS, AUTHORS_CARDS, CARDS, HEADINGS, SIZES, make, tables
from helpers.scripts import EXAMPLES, run_command, run_script
from huggingface_hub import ModelCard

from modeling_distilwhisper.data.sources import Source
from modeling_distilwhisper.reporting.card_tables import language_name, percent
from modeling_distilwhisper.reporting.markdown import table_of
from modeling_distilwhisper.reporting.model_card import hub_id, hub_names


def test_the_cards_in_the_repository_are_what_their_commands_write_today(tmp_path):
    shutil.copytree(CARDS, tmp_path / "model_cards")
    before = {"quickstart.md": CARDS / "quickstart.md"} | {path.name: path for path in AUTHORS.values()}
    commands = re.search(r"```bash\n(.*?)```", (CARDS / "README.md").read_text(), re.DOTALL)[1].replace("\\\n", "")
    (tmp_path / "model_cards/quickstart.md").unlink()
    authors_folder = str(AUTHORS_CARDS.relative_to(EXAMPLES.parent))
    (tmp_path / "authors").mkdir()
    for command in commands.splitlines():
        command = command.replace(authors_folder, str(tmp_path / "authors"))
        program, name, *arguments = shlex.split(command.replace("model_cards", str(tmp_path / "model_cards")))
        start = {"python": run_script, "distilwhisper": run_command}[program]
        code, _, errors = start(name.removeprefix("examples/"), *arguments)
        assert code == 0, errors[-3000:]
    made = [tmp_path / "model_cards/quickstart.md", *(tmp_path / "authors").iterdir()]
    assert len(made) == len(before) == 4
    for path in made:
        assert path.read_text() == before[path.name].read_text(), (
            f"{path.name} is out of date: model_cards/README.md makes it again"
        )


@pytest.mark.parametrize("name", ["quickstart", *(f"multilingual-distilwhisper-{size}" for size in SIZES)])
def test_a_card_is_whole_and_reads_as_it_was_written(name):
    path = AUTHORS.get(name, CARDS / f"{name}.md")
    card = ModelCard.load(path)
    assert str(ModelCard(str(card))) == str(card) == path.read_text()
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
    entries = {(one.dataset_name, one.dataset_config, one.metric_type): one for one in data.eval_results}
    after = results["scores"]["after"]
    assert len(entries) == 2 * 2 * 3 and {code for _, code, _ in entries} == {"ca", "hu", "uk"}, (
        "what was not trained is plain"
    )
    for name, scores in after.items():
        for code in ("ca", "hu", "uk"):
            wer, cer = (entries[f"{name}, {language_name(code)}", code, metric] for metric in ("wer", "cer"))
            rates = scores[code]
            assert (wer.metric_value, cer.metric_value) == (round(100 * rates["wer"], 2), round(100 * rates["cer"], 2))
            low, high = f"{100 * rates['wer_low']:.1f}", f"{100 * rates['wer_high']:.1f}"
            size, normalizer = f"{rates['words']} words", f"normaliser {rates['normalizer']}"
            assert wer.metric_name == f"WER in % (95 % interval {low} to {high}; {size}, {normalizer})"
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
    opened = results["expert usage at inference"]["hu"]
    assert gates["Hungarian (hu)"] == {"language": "Hungarian (hu)"} | {
        side: f"{100 * opened[side]:.0f}" for side in ("encoder", "decoder", "all")
    }
    files = {row["language"]: row for row in rows if "file, MB" in row}
    assert files["Ukrainian (uk)"]["parameters, M"] == "0.56" and files["Ukrainian (uk)"]["file, MB"] == "2.3"


def test_scores_of_earlier_experts_are_not_shown_as_those_of_plain_whisper(results):
    results["settings"]["model"]["experts_from"] = "/somewhere/compressed"
    scores = results["scores"]
    for by_language in scores["before"].values():
        by_language["ca"]["wer"] = 0.333  # plain Whisper, with closed gates, has another
    rows = [row for row in tables(make(results)) if "words" in row]
    for number, name in enumerate(scores["after"]):
        catalan, *_, english, spanish = rows[5 * number : 5 * number + 5]
        assert catalan["without experts"] == percent(scores["gates closed"][name]["ca"])
        assert catalan["with earlier experts"] == percent(scores["before"][name]["ca"])
        assert catalan["with experts"] == percent(scores["after"][name]["ca"])
        for row, code in ((english, "en"), (spanish, "es")):
            assert row["without experts"] == percent(scores["before"][name][code])
            assert row["with earlier experts"] == "-"
    assert "Training continued earlier experts, `compressed`," in make(results).text
    del scores["gates closed"]
    rows = [row for row in tables(make(results)) if "words" in row]
    assert [row["without experts"] for row in rows[:3]] == ["-"] * 3 and rows[3]["without experts"] != "-"
    results["settings"]["model"]["experts_from"] = "me/compressed"
    assert "[me/compressed](https://huggingface.co/me/compressed)" in make(results).text


def test_domains_are_told_apart_by_what_was_trained_on(results):
    text = make(results).text
    assert "**in-domain** (in domain: the model was trained on its train split)" in text
    assert "**out-of-domain** (out of domain: the model was not trained on it)" in text
    assert "The model was tested only on the corpora that it was trained on" not in text
    for scores in results["scores"].values():
        del scores["out-of-domain"]
    assert "The model was tested only on the corpora that it was trained on" in make(results).text


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
    assert hub_names(source.name, "hu", source) == expected
    assert hub_names("my words", "hu", None) == ("my-words", "hu"), "a test set of an evaluation alone"


def test_common_voice_is_told_in_its_own_codes_where_they_are_not_whispers():
    source = Source.parse("cv=common_voice:releases/cv-corpus-13.0-2023-03-09")
    configs = [hub_names("cv", code, source)[1] for code in ("sv", "zh", "pa", "jw", "gl")]
    assert configs == ["sv-SE", "zh-CN", "pa-IN", "jv", "gl"]


def test_an_evaluation_takes_the_place_of_the_runs_scores_where_it_has_any(results, summary):
    card = make(results, evaluation=summary, system="ours")
    entries = {(one.dataset_name, one.metric_type): one for one in card.data.eval_results}
    assert entries["in-domain, Catalan (ca)", "wer"].metric_value == 20.0
    assert "normaliser report" in entries["in-domain, Catalan (ca)", "wer"].metric_name
    assert ("in-domain, Hungarian (hu)", "wer") not in entries, "scores of another kind do not mix in one table"
    of_the_run = results["scores"]["after"]["out-of-domain"]["hu"]
    assert entries["out-of-domain, Hungarian (hu)", "wer"].metric_value == round(100 * of_the_run["wer"], 2)
    assert entries["a|b, Catalan (ca)", "wer"].metric_name == "WER in % (2000 words, normaliser report)", "no interval"
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
    entries = {(one.dataset_name, one.dataset_split): one for one in card.data.eval_results if one.metric_type == "wer"}
    assert entries["in-domain, Catalan (ca)", "validation"].metric_value == 20.0
    expected = round(100 * results["scores"]["after"]["in-domain"]["ca"]["wer"], 2)
    assert entries["in-domain, Catalan (ca)", "test"].metric_value == expected
    assert "**in-domain, validation** (in domain" in card.text and "**in-domain** (in domain" in card.text
    assert [row["data set"] for row in tables(card) if "against" in row] == ["in-domain, validation"]


def test_each_table_names_its_normaliser_where_there_are_several(results, summary):
    titles = r"\*\*(.*?)\*\* \(.*?; normaliser `([\w-]+)`\)"
    assert not re.findall(titles, make(results).text), "the same for all: it is above the tables"
    text = make(results, evaluation=summary, system="ours").text
    expected = {"in-domain": "report", "a|b": "report", "out-of-domain": "marks-2"}
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
    unexamined = "Whether the model makes more errors for some speakers"
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
