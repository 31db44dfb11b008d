"""The bias study's script: the commands that its first lines show, on miniatures of both corpora and two models."""

import re
import shlex
import shutil
from itertools import product

import datasets
import pandas as pd
import pytest
from helpers import corpora, speech, tiny
from helpers.scripts import EXAMPLES, run_command
from huggingface_hub import ModelCard
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.commands import bias
from modeling_distilwhisper.data.rows import one_line
from modeling_distilwhisper.runs.records import RecordFile

SCRIPT = EXAMPLES / "run_bias.py"
PRECISIONS = ("float16", "int8", "nf4")


def run(*arguments, cache=None) -> None:
    """The command in this process, where it starts ten times as fast, without what makes its errors one line."""
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = cache or before
    try:
        bias.main.__wrapped__([*map(str, arguments)], SCRIPT.name)
    finally:
        datasets.config.HF_DATASETS_CACHE = before


def commands() -> list[list[str]]:
    """The arguments of each command of the script's docstring."""
    text = re.match(r'"""(.*?)"""', SCRIPT.read_text(encoding="utf-8"), re.DOTALL)[1].replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in text.splitlines() if line.strip().startswith("python ")]


@pytest.fixture(scope="module")
def place(processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bias")
    shape = {"d_model": 64, "encoder_ffn_dim": 64, "init_std": 0.2}  # NF4 has blocks of 64
    whisper = tiny.make_whisper(processor, **shape)
    whisper.generation_config.max_length = 16  # a random one never ends by itself
    whisper.save_pretrained(folder / "tiny")
    processor.save_pretrained(folder / "tiny")
    routed = DistilWhisperForConditionalGeneration.from_whisper(folder / "tiny", languages=["gl"])
    tiny.unsettle(routed)
    routed.save_pretrained(folder / "large")
    processor.save_pretrained(folder / "large")
    for code, language in (("gl_es", "gl"), ("ca_es", "ca")):
        # The texts are transcripts of the tiny model: random models have no sentence with a WER below 100 otherwise.
        texts = [transcribe_tone(folder / "tiny", processor, 400 + 100 * number, language) for number in range(3)]
        corpora.write_fleurs(folder / code, code, texts)
        shutil.copytree(folder / code, folder, dirs_exist_ok=True)
        corpora.write_common_voice(folder, language)
    return folder


def transcribe_tone(model, processor, pitch, language) -> str:
    whisper = WhisperForConditionalGeneration.from_pretrained(model)
    features = processor(speech.tone(pitch), sampling_rate=speech.RATE, return_attention_mask=True, return_tensors="pt")
    tokens = whisper.generate(**features, language=language, task="transcribe", num_beams=1)
    return one_line(processor.batch_decode(tokens, skip_special_tokens=True)[0])


@pytest.fixture(scope="module")
def small(place):
    """A word of the docstring's commands as it is in the miniature."""
    places = {
        "tiny=openai/whisper-tiny": f"tiny={place}/tiny",
        "large=openai/whisper-large-v2": f"large={place}/large",
        "fleurs:google/fleurs": f"fleurs:{place}/fleurs",
        "common_voice:cv-corpus-13.0-2023-03-09": f"common_voice:{place}/cv-corpus-13.0-2023-03-09",
        "bias": f"{place}/bias",
    }
    return lambda words: [places.get(word, word) for word in words]


@pytest.fixture(scope="module")
def done(place, small):
    study, _ = commands()
    assert all(f"--{name}" in study for name in ("models", "precision", "balanced", "data", "languages"))
    command = [*small(study), "--vad", "helpers.speech:is_loud", "--min_utterances", "4", "--device", "cpu"]
    run(*command, cache=place / "cache")
    return command, place / "bias"


def transcripts(folder):
    return {
        str(path.relative_to(folder)): {record["id"]: record["hypothesis"] for record in RecordFile(path).read()}
        for path in (folder / "transcripts").glob("**/*.jsonl")
    }


def test_every_cell_of_the_grid_is_transcribed_and_reported(done, capsys):
    _, folder = done
    cells = transcripts(folder)
    assert len(cells) == 2 * len(PRECISIONS) * 2 * 2, "no hu or uk in either corpus, and that ends nothing"
    galician = {tuple(path.split("/")[1:3]): texts for path, texts in cells.items() if path.endswith("fleurs/gl.jsonl")}
    assert set(galician) == set(product(("tiny", "large"), PRECISIONS))
    assert {len(texts) for texts in galician.values()} == {12}, (
        "of three sentences in three splits, women lack the last"
    )
    assert galician["tiny", "float16"] != galician["large", "float16"], "gl has experts"
    assert galician["tiny", "float16"] != galician["tiny", "nf4"], "and four bits are fewer"
    notes = RecordFile(folder / "rows/common_voice/ca.jsonl").read()
    assert sum(note["kept"] for note in notes) == 6 and {note["split"] for note in notes} == {"validation"}
    assert {note["reason"] for note in notes} == {None, "missing audio file", "unreadable audio", "empty text"}
    assert (folder / "bias.html").read_text().count("<img ") == len(list(folder.glob("*.png"))) > 8
    assert (folder / "figure12.fleurs.png").is_file() and (folder / "tables/classes.csv").is_file()


@pytest.mark.slow
def test_a_card_takes_the_groups_of_its_model_from_the_folder(done, tmp_path):
    _, folder = done
    arguments = [EXAMPLES.parent / "model_cards/quickstart.json", "--output", tmp_path / "README.md", "--bias"]
    code, _, errors = run_command("card", *arguments, folder, "--system", "large")
    assert code == 0, errors[-3000:]
    text = ModelCard.load(tmp_path / "README.md").text
    assert "### Groups of speakers" in text and "was not examined" not in text
    genders = pd.read_csv(folder / "tables/genders.csv")
    rows = genders[(genders["model"] == "large") & (genders["language"] == "gl")]
    assert set(rows["precision"]) == set(PRECISIONS) and len(genders) > len(rows)
    for row in rows.to_dict("records"):
        numbers = f"WER {row['female']:.1f} % of women, {row['male']:.1f} % of men"
        lines = [line for line in text.splitlines() if numbers in line and f" {row['precision']} " in line]
        assert any("Galician (gl)" in line and "too few to tell" in line for line in lines), numbers
    after = pd.read_csv(folder / "tables/findings_after.csv")
    shown = text[text.index("### Groups of speakers") : text.index("## Training")].splitlines()
    count = sum(pd.read_csv(path)["model"].eq("large").sum() for path in (folder / "tables").glob("findings_*.csv"))
    assert len([line for line in shown if line.startswith("| ")]) == 1 + (genders["model"] == "large").sum() + count
    assert all(why in text for why in after[after["model"] == "large"]["why"]), "and what compression did"

    (tmp_path / "README.md").unlink()
    for wrong, message in {
        (folder, "--system", "ours"): "has no model 'ours'. It has: large, tiny.",
        (tmp_path, "--system", "large"): "holds no bias study",
        (folder,): "--system goes with --evaluation or --bias",
    }.items():
        code, _, errors = run_command("card", *arguments, *wrong)
        assert code != 0 and message in errors, errors[-3000:]
    assert not (tmp_path / "README.md").exists()


def test_started_again_it_makes_only_what_is_missing(done, place):
    command, folder = done
    before, file = transcripts(folder), folder / "transcripts/large/int8/common_voice/gl.jsonl"
    untouched = {path: path.stat().st_mtime_ns for path in (folder / "transcripts").glob("**/*.jsonl") if path != file}
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    run(*command, "--figures", "figure3", cache=place / "cache")
    assert transcripts(folder) == before
    assert file.read_bytes().splitlines(keepends=True)[:2] == lines[:2], "what was there was not made again"
    assert all(path.stat().st_mtime_ns == time for path, time in untouched.items())


def test_a_folder_is_drawn_again_without_models(done, place, small, capsys):
    _, folder = done
    _, again = commands()
    for path in folder.glob("*.png"):
        path.unlink()
    run(*small(again))
    assert {path.name for path in folder.glob("*.png")} == {"figure7.fleurs.png", "figure10.fleurs.png"}
    assert "What compression did to each bias" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--precision", "float32", "int3"], "--precision takes some of float32, .* got int3"),
        (["--precision", "auto"], "--precision takes some of float32, .* got auto"),
        (["--figures", "figure1"], "--figures takes some of figure2, .* got figure1"),
        (["--normalizer", "none"], "--normalizer takes some of marks, report; got none"),
        (["--models", "a=x"], "--models needs speech to transcribe"),
        ([], "has no complete transcripts"),
    ],
)
def test_wrong_settings_are_errors_before_anything_takes_time(tmp_path, wrong, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run("--output_dir", tmp_path / "none", *wrong)
    assert not (tmp_path / "none").exists()
