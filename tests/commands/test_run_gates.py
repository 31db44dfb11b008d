"""The gate script, run as people run it: what it writes is what the model does."""

import json

import pytest
from helpers import speech, tiny
from helpers.scripts import run_command

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.evaluation.gates import measure_expert_usage


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
    assert pictures == {"expert_usage", *(f"model-{m}-{d}-{code}" for m in "ab" for d in "ab" for code in ("gl", "ca"))}

    code, _, errors = run_command("gates", *command, "--languages", "fr")
    assert code != 0 and "has an expert for any of ['fr']" in errors
