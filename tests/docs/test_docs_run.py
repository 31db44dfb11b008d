"""The docs' commands and programs, run from the top of each page to its end, on tiny models in a folder where the names
of the docs are."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import soundfile
from helpers import authors, cards, hub, speech, tiny
from helpers.pages import ROOT, RUN, Block, blocks, commands, program, script_of
from helpers.real import required
from helpers.remote import run_without_the_package
from helpers.scripts import run_command as run_distilwhisper
from helpers.scripts import run_script
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.export.whisper import save_processor

# Run by tests/docs/test_quickstart.py and tests/data/test_readers.py.
REAL_DATA = (
    "examples/quickstart/quickstart.yaml",
    "common_voice:",
)
SMALLER = {"--rank": "4", "--expert_rank": "4"}  # than the tiny models are wide
TEACHERS = ("whisper-large", "teacher")  # in commands that only those with a teacher give
NEEDS_REAL_WHISPER = ("from faster_whisper import", "ct2-transformers-converter")
PUSH = "distilwhisper push"
# PyTorch's exporter writes to streams that a fork has closed; the address of the Hub is read on import.
NEEDS_OWN_PROCESS = ("examples/export_onnx.py", "distilwhisper export --format onnx", PUSH)
ON_THE_HUB = '"me/'  # in programs that talk to it


FFMPEG = f"""#!{sys.executable}
import io, sys
import soundfile

*options, target = sys.argv[1:]
source = options[options.index("-i") + 1]
samples, rate = soundfile.read(io.BytesIO(sys.stdin.buffer.read()) if source == "pipe:0" else source, dtype="float32")
assert rate == 16000 and samples.ndim == 1 and options[options.index("-ar") + 1] == "16000"
if target == "pipe:1":
    sys.stdout.buffer.write(samples.tobytes())
else:
    soundfile.write(target, samples, rate)
"""


@pytest.fixture
def place(tmp_path, whisper_dir, processor, monkeypatch):
    """A folder in which the names of the docs are tiny things, and `ffmpeg` a program."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in ("tiny", "base", "small"):
        shutil.copytree(whisper_dir, tmp_path / f"openai/whisper-{name}")
    large = tmp_path / "openai/whisper-large-v2"
    tiny.make_whisper(processor, seed=5, encoder_layers=3).save_pretrained(large)
    processor.save_pretrained(large)
    (tmp_path / "talks").mkdir()
    for number, name in enumerate(("monday", "tuesday"), start=1):
        soundfile.write(tmp_path / f"talks/{name}.flac", speech.tone(500, 0.7 * number), speech.RATE)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ffmpeg").write_text(FFMPEG)
    (tmp_path / "bin/ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


def add_model(place: Path, processor, name: str, languages: list[str], base: str = "openai/whisper-base") -> None:
    """A model with experts, saved in the folder."""
    model = DistilWhisperForConditionalGeneration.from_whisper(place / base, languages=languages)
    model.config.base_model_name_or_path = base
    tiny.unsettle(model)
    model.save_pretrained(place / name)
    processor.save_pretrained(place / name)


@pytest.fixture
def served(place):
    """The stand-in of the Hub, with openai/whisper-base, and the environment of those who ask it."""
    with hub.serving() as served:
        served.add("openai/whisper-base", place / "openai/whisper-base")
        settings = {"HF_ENDPOINT": served.endpoint, "HF_HOME": str(place / "home"), "HF_TOKEN": "hf_me"}
        settings |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
        yield served, settings


def run_page(page: str, place: Path, settings: dict[str, str]) -> None:
    """Runs a page's blocks in their order."""
    run_blocks(blocks(page), place, settings)


def run_blocks(chosen: list[Block], place: Path, settings: dict[str, str]) -> None:
    for block in chosen:
        if block.language == "bash":
            for command in commands(block):
                run_command(block.place, command, place, settings)
        elif block.language == "python" and not any(name in block.text for name in NEEDS_REAL_WHISPER):
            run_python(block, place, settings if ON_THE_HUB in block.text else {})


@contextmanager
def whisper_on_the_hub(place: Path) -> Iterator[None]:
    """Within it, openai/whisper-base is on the Hub and is no folder, and models name it as their backbone."""
    (place / "openai").rename(place / "elsewhere")
    for config in place.glob("distilwhisper-*/config.json"):
        content = json.loads(config.read_text())
        if not str(content.get("base_model_name_or_path")).startswith("openai/"):  # saved without the folder's path
            config.write_text(json.dumps(content | {"base_model_name_or_path": "openai/whisper-base"}))
    yield
    (place / "elsewhere").rename(place / "openai")


def run_python(block: Block, place: Path, settings: dict[str, str]) -> None:
    """In a new process; without this package if the program does not import it."""
    with whisper_on_the_hub(place) if settings else nullcontext():
        if "trust_remote_code" in block.text:
            run_without_the_package(f"\n{block.text}", place, **settings)
        else:
            run_process(block.place, ["-c", block.text], place, settings)


def run_process(where: str, arguments: list, place: Path, settings: dict[str, str]) -> None:
    """Runs Python in a new process, whose environment has the given settings too."""
    environment = {**os.environ, **settings}
    done = subprocess.run([sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{where}: {arguments}\n{done.stdout[-1000:]}{done.stderr[-3000:]}"


def run_command(where: str, command: list[str], place: Path, settings: dict[str, str]) -> None:
    """Runs it, if it is one of those that tests run here; `test_docs.py` checks the others."""
    if command[0] == "bash":
        subprocess.run(command, cwd=place, check=True)
        return
    script = script_of(command)
    if script is None or script[0] not in RUN or program(command) == "torchrun":
        return
    if any(word in REAL_DATA or word.partition("=")[2].startswith(REAL_DATA) for word in script):
        return
    for flag, value in SMALLER.items():
        if flag in script:
            script[script.index(flag) + 1] = value
    name, *arguments = [*script, *RUN[script[0]]]
    _, _, command_name = name.partition("distilwhisper ")
    if name in NEEDS_OWN_PROCESS:
        start = [ROOT / "distilwhisper_cli.py", *command_name.split()] if command_name else [name]
        with whisper_on_the_hub(place) if name == PUSH else nullcontext():
            run_process(where, [*start, *arguments], place, settings if name == PUSH else {})
        return
    if command_name:
        code, printed, errors = run_distilwhisper(*command_name.split(), *arguments, cwd=place)
    else:
        code, printed, errors = run_script(name.removeprefix("examples/"), *arguments, cwd=place)
    assert code == 0, f"{where}: {' '.join(command)}\n{printed[-1000:]}{errors[-3000:]}"


@pytest.fixture
def furnished(place, processor):
    """The folder with recordings and models that pages speak of and other pages make."""
    for folder, languages in {"recordings": ("gl", "ca"), "prompts": ("ru", "fr")}.items():
        for language in languages:
            speech.write_folder(place / folder / language, language, rows=4)
    for name in ("agent-loginok", "vm-unknown-caller"):
        shutil.copy(place / "talks/monday.flac", place / f"prompts/ru/test/{name}.flac")
    models = {"distilwhisper-base-ru": "ru", "distilwhisper-quickstart": "ca", "run-gl": "gl", "run-ca": "ca"}
    for name, language in models.items():
        add_model(place, processor, name, [language])
    add_model(place, processor, "distilwhisper-small-gl", ["gl"], "openai/whisper-small")
    return place


@pytest.mark.slow
def test_the_readme_runs_from_its_top_to_its_end(furnished, served):
    shutil.rmtree(furnished / "distilwhisper-small-gl")  # the page makes it
    run_page("README.md", furnished, served[1])
    assert len([*(furnished / "transcripts").rglob("*.srt")]) == 40
    assert (furnished / "distilwhisper-small-gl/expert.gl.safetensors").is_file()


@pytest.mark.slow
def test_the_page_about_use_runs_from_its_top_to_its_end(furnished, served):
    run_page("docs/use.md", furnished, served[1])
    assert (furnished / "my-experts/expert.ru.safetensors").is_file()
    assert (furnished / "transcripts/monday.srt").is_file()


@pytest.mark.slow
def test_the_page_about_training_runs_from_its_top_to_its_end(furnished, served):
    for name in ("distilwhisper-base-ru", "distilwhisper-small-gl"):
        shutil.rmtree(furnished / name)
    run_page("docs/train.md", furnished, served[1])
    made = ("distilwhisper-small-gl", "distilwhisper-cached", "distilwhisper-small", "distilwhisper-joined")
    assert all((furnished / name / "config.json").is_file() for name in (*made, "distilwhisper-base-ru"))


@pytest.mark.slow
def test_speech_without_transcripts_is_labelled_and_trained_on_round_by_round(furnished, served):
    run_page("docs/unlabelled.md", furnished, served[1])
    assert all((furnished / f"distilwhisper-small-gl-{number}/expert.gl.safetensors").is_file() for number in (1, 2))
    kept = (furnished / "labelled-2/train/metadata.jsonl").read_text().splitlines()
    weights = [json.loads(line)["loss_weight"] for line in kept]
    assert weights == [0.3], "the best half of two"
    assert len((furnished / "labelled-corpus/train/metadata.jsonl").read_text().splitlines()) == 8


@pytest.mark.slow
def test_a_language_that_whisper_does_not_know_is_trained_used_and_detected(furnished, served):
    """The small Whisper of tests knows five languages: others stand for those that the page names."""
    speech.write_folder(furnished / "recordings/ga", "ga", rows=4)
    speech.write_folder(furnished / "recordings/ru", "ru", rows=4)
    known = {"ga=cy": "ga=ru", "ga en cy": "ga gl ru", '["cy", "fr"]': '["ru", "fr"]', '"cy"': '"ru"', '"ar"': '"ru"'}
    for block in blocks("docs/new_languages.md"):
        text = block.text
        for named, stand_in in known.items():
            text = text.replace(named, stand_in)
        run_blocks([dataclasses.replace(block, text=text)], furnished, served[1])
    folder = furnished / "distilwhisper-small-ga"
    assert (folder / "expert.ga.safetensors").is_file() and "language:\n- ga" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["detection_languages"] == ["ga"]


@pytest.mark.slow
def test_the_page_about_evaluation_runs_from_its_top_to_its_end(furnished, served):
    run_page("docs/evaluate.md", furnished, served[1])
    systems = {row["system"] for row in json.loads((furnished / "scores/summary.json").read_text())["scores"]}
    assert systems == {"base", "ours"}
    assert [*(furnished / "gates").iterdir()]


@pytest.mark.slow
def test_the_page_about_deployment_runs_from_its_top_to_its_end(furnished, served):
    (furnished / "distilwhisper-base-ru/results.json").write_text(json.dumps(cards.results()))
    (furnished / "scores").mkdir()
    (furnished / "scores/summary.json").write_text(json.dumps(cards.summary()))
    whisper = WhisperForConditionalGeneration.from_pretrained(furnished / "openai/whisper-small")
    (furnished / "naver").mkdir()
    authors.write_checkpoint(furnished / "naver/multilingual-distilwhisper-28k", whisper)
    run_page("docs/deploy.md", furnished, served[1])
    made = ("distilwhisper-small-gl-tuned", "whisper-base-ru", "distilwhisper-base-ru-onnx", "distilwhisper-28k")
    assert all((furnished / name / "config.json").is_file() for name in made)
    assert "expert.ru.safetensors" in served[0].repositories["me/distilwhisper-base"].at().files


@pytest.mark.slow
def test_the_tutorial_leads_from_a_folder_of_recordings_to_experts_on_the_hub(place, processor, served):
    (place / "phone").mkdir()
    for speaker, count in {"maria": 3, "xoan": 3, "uxia": 4, "brais": 4}.items():
        for number in range(count):
            name = place / f"phone/{speaker}-{number:03}"
            with open(f"{name}.m4a", "wb") as file:
                soundfile.write(file, speech.tone(speech.WORDS["mo"]), speech.RATE, format="WAV")
            name.with_suffix(".txt").write_text("mo\n", encoding="utf-8")
    add_model(place, processor, "distilwhisper-base-ca", ["ca"])
    every = blocks("docs/your_language.md")
    with_teacher = [block for block in every if any(word in block.text for word in TEACHERS)]
    assert len(with_teacher) == 3, "to measure it, to train with it, to compare"
    large = place / "openai/whisper-large-v2"
    large.rename(place / "large")  # who has no teacher gets to the end all the same
    run_blocks([block for block in every if block not in with_teacher], place, served[1])
    assert not [path for path in place.glob("*") if "taught" in path.name or "teacher" in path.name]
    for split, speakers in {"train": {"uxia", "brais"}, "validation": {"maria"}, "test": {"xoan"}}.items():
        listing = (place / f"recordings/gl/{split}/metadata.csv").read_text().splitlines()[1:]
        assert {line.split("-")[0] for line in listing} == speakers
    assert (place / "transcripts/tuesday.srt").is_file()
    files = served[0].repositories["me/distilwhisper-base-gl"].at().files
    assert {"expert.gl.safetensors", "config.json", "README.md"} <= files.keys()
    assert "model.safetensors" not in files, "experts alone"
    assert b"me/distilwhisper-base-gl" in files["README.md"]
    assert b"beyond chance" in files["README.md"], "step 8 leaves the comparison of step 5 where step 10 finds it"

    (place / "large").rename(large)
    run_blocks(with_teacher, place, served[1])
    assert (place / "distilwhisper-base-gl-taught/expert.gl.safetensors").is_file()
    compared = json.loads((place / "scores/summary.json").read_text())["differences"]
    assert {(row["of"], row["less that of"]) for row in compared} == {("ours", "taught"), ("ours", "base")}


@pytest.mark.real
def test_faster_whisper_reads_what_the_tutorial_converts(place):
    shutil.copytree(required("DISTILWHISPER_TEST_CHECKPOINT"), place / "whisper-base-gl")
    save_processor(WhisperProcessor.from_pretrained(place / "whisper-base-gl"), place / "whisper-base-gl")
    found = [one for one in blocks("docs/your_language.md") if any(name in one.text for name in NEEDS_REAL_WHISPER)]
    assert [block.language for block in found] == ["bash", "python"]
    (convert,) = [one for one in commands(found[0]) if program(one) == "ct2-transformers-converter"]
    code = "from ctranslate2.converters.transformers import main; main()"
    for command in (["-c", code, *convert[1:]], ["-c", found[1].text]):
        done = subprocess.run([sys.executable, *command], cwd=place, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
