"""The gate script, run as people run it: what it writes is what the model does."""

import json

import pytest
from helpers import speech, tiny
from helpers.scripts import run_command
from helpers.training import load

import distilwhisper_cli
from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.evaluation.gates import measure_expert_usage
from modeling_distilwhisper.reporting import figures


@pytest.mark.slow
def test_shares_of_each_model_corpus_and_language_as_json_and_pictures(whisper_dir, processor, model, tmp_path):
    for name in ("a", "b"):
        for seed, language in enumerate(("gl", "ca")):
            speech.write_folder(tmp_path / name / language, language, seed=seed)
        model.save_pretrained(tmp_path / f"model-{name}")
        processor.save_pretrained(tmp_path / f"model-{name}")
        tiny.unsettle(model)
    models, data = ([tmp_path / f"model-{name}" for name in "ab"], [f"{tmp_path}/{name}/{{language}}" for name in "ab"])
    command = ["--models", *models, "--data", *data, "--languages", "gl", "ca", "--output_dir", tmp_path / "out"]
    command += ["--device", "cpu", "--batch_size", "3"]
    code, _, errors = run_command("gates", *command)
    assert code == 0, errors[-3000:]
    found = json.loads((tmp_path / "out/gates.json").read_text())
    assert len(found) == 2 * 2 * 2 and {row["utterances"] for row in found} == {4}
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "model-b").eval()
    rows = [{**row} for row in read_folder(tmp_path / "b/ca", "test")]
    expected = measure_expert_usage(loaded, [SpeechCollator(processor)(rows)])
    own = found[-1]
    assert (own["model"], own["data_set"], own["language"]) == ("model-b", "b", "ca")
    for name, share in expected.items():
        assert own[name] == pytest.approx(share), name
    pictures = {path.stem for path in (tmp_path / "out").glob("*.png")}
    of_utterances = {f"model-{m}-{d}-{code}" for m in "ab" for d in "ab" for code in ("gl", "ca")}
    assert pictures == of_utterances | {"expert_usage", "usage_by_model"}

    code, _, errors = run_command("gates", *command, "--languages", "fr")
    assert code != 0 and "has an expert for any of ['fr']" in errors


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, with their file names, to look into. No file is written: that takes seconds."""
    kept = []
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: kept.append((path.name, figure)))
    return kept


def write_model(folder, model, processor, **settings):
    """A model as a run leaves it."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "settings.json").write_text(json.dumps({"model": {"languages": ["gl"], **settings}}))
    return folder


def test_the_figure_of_models_and_data_sets_says_whose_usage_is_the_budgets(
    whisper_dir, processor, recordings, tmp_path, drawn, capsys
):
    """The user may not remember how a model was trained: its thresholds say it."""
    soft = load(whisper_dir, ["gl"], gate_training="soft", gate_budget=0.3)
    hard = load(whisper_dir, ["gl"], gate_budgets={"gl": 0.7})
    for expert in hard.experts_of("gl").values():
        expert.gate.threshold.fill_(0.01)  # training moves it
    models = [
        write_model(tmp_path / "soft-kd", soft, processor, teacher="large"),
        write_model(tmp_path / "soft", soft, processor),
        write_model(tmp_path / "hard", hard, processor, teacher_cache="cached"),
    ]
    data = [f"in={recordings['gl']}", f"out={recordings['gl']}"]
    flags = ["--models", *map(str, models), "--data", *data, "--languages", "gl", "--device", "cpu", "--max_rows", "2"]
    assert distilwhisper_cli.main(["gates", *flags, "--output_dir", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out/gates.json").read_text())
    assert [(row["model"], row["method"], row["usage is set by"], row["budget"]) for row in rows[::2]] == [
        ("soft-kd", "DistilWhisper", "the gates", 0.3),
        ("soft", "CLSR-FT", "the gates", 0.3),
        ("hard", "DistilWhisper", "the budget", 0.7),
    ]
    printed = capsys.readouterr().out
    assert "The thresholds of hard followed the budget" in printed and "--gate_training soft" in printed
    shown = dict(drawn)
    by_model, by_layer = shown["usage_by_model.png"], shown["expert_usage.png"]
    for data_set, bars in zip(("in", "out"), by_model.axes[0].containers[:2], strict=True):
        assert [bar.get_height() for bar in bars] == [row["all"] for row in rows if row["data_set"] == data_set]
        assert [bool(bar.get_hatch()) for bar in bars] == [False, False, True]
    assert by_model.get_suptitle().startswith("Hatched: thresholds followed the budget in training")
    assert [label.get_text() for label in by_model.axes[0].get_xticklabels()] == [
        "soft-kd\nDistilWhisper",
        "soft\nCLSR-FT",
        "hard\nDistilWhisper",
    ]
    assert "(hard in gl, hard out gl)" in by_layer.get_suptitle()

    drawn.clear()
    flags[1:4] = map(str, models[:2])
    assert distilwhisper_cli.main(["gates", *flags, "--output_dir", str(tmp_path / "free")]) == 0
    assert all(figure.get_suptitle() == "" for name, figure in drawn if "usage" in name)
    assert "followed the budget" not in capsys.readouterr().out, "what is free needs no warning"
