"""An installed wheel, without a checkout and without any extra, is enough for what most people do."""

import json
import os
import subprocess
import sys
import sysconfig

import pytest
from helpers.scripts import ROOT

from modeling_distilwhisper.runs.extras import EXTRAS

QUICKSTART = ROOT / "examples/quickstart"
REQUIRED_BY_OTHERS = {"pandas", "h11"}  # by datasets and by huggingface_hub
HIDE = """
from importlib.machinery import PathFinder

def find_spec(name, *arguments, find=PathFinder.find_spec):
    return None if name.split(".")[0] in {names} else find(name, *arguments)

PathFinder.find_spec = staticmethod(find_spec)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder of an environment that has this package as a wheel, its requirements, and no extra."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    source.mkdir()
    for name in (
        "setup.cfg",
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "distilwhisper_cli.py",
        "modeling_distilwhisper",
    ):
        (source / name).symlink_to(ROOT / name)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (wheel,) = folder.glob("*.whl")
    into = [*pip, "--python", environment / "bin/python", "install", "--no-deps", "--no-index", wheel]
    subprocess.run(into, check=True, capture_output=True)
    # The requirements are those of the environment of the tests, whose extras cannot be found.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "requirements.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    (site / "sitecustomize.py").write_text(HIDE.format(names=sorted(EXTRAS.keys() - REQUIRED_BY_OTHERS)))
    return environment


@pytest.fixture(scope="module")
def run(installed, tmp_path_factory):
    """Runs the installed `distilwhisper` in a folder that is no checkout; gives the folder, output and errors."""
    folder = tmp_path_factory.mktemp("elsewhere")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def run(*arguments, code: int = 0):
        command = [installed / "bin/distilwhisper", *map(str, arguments)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr[-3000:]
        return folder, done.stdout, done.stderr

    return run


@pytest.mark.slow
def test_training_scoring_and_transcribing_need_no_extra(run):
    assert "Train and evaluate:" in run("--help")[1]
    data = f"in-domain={QUICKSTART}/in_domain/{{language}}"
    few = ["--max_rows", 2, "--max_steps", 1, "--eval_strategy", "no", "--save_strategy", "no"]
    flags = ["--student", QUICKSTART / "student", "--teacher", QUICKSTART / "teacher", "--languages", "ca"]
    flags += ["--data", data, "--output_dir", "run", "--load_best_model_at_end", "false", "--report_to", "none"]
    folder, printed, _ = run("train", *flags, *few)
    assert 'No pictures: this needs matplotlib, which is not installed. Install it: pip install "modeling' in printed
    assert (folder / "run/expert.ca.safetensors").is_file() and (folder / "run/README.md").is_file()
    run("eval", "--models", "run", "--data", data, "--languages", "ca", "--max_rows", 2, "--output_dir", "scores")
    (score,) = json.loads((folder / "scores/summary.json").read_text())["scores"]
    assert score["wer_low"] <= score["wer"] <= score["wer_high"]
    assert "wer" in (folder / "scores/summary.md").read_text()
    run("transcribe", QUICKSTART / "in_domain/ca/test/001.ogg", "--model", "run", "--output_dir", "transcripts")
    assert (folder / "transcripts/001.srt").is_file()


@pytest.mark.slow
def test_a_missing_extra_is_one_line_that_says_how_to_install_it(run):
    for extra, arguments in {
        "demo": ["demo", "run"],
        "bias": ["bias", "--output_dir", "bias"],
        "export": ["export", "--format", "onnx", "x", "--language", "ca", "--clip", "x.wav", "--output_dir", "onnx"],
        "compare": ["train", QUICKSTART / "quickstart.yaml", "--method", "lora", "--teacher", ""],
    }.items():
        _, _, errors = run(*arguments, code=1)
        (line,) = [line for line in errors.splitlines() if ": error: " in line]
        assert 'which is not installed. Install it: pip install "modeling_distilwhisper[' in line, line
        assert line.endswith(f'[{extra}]"')
