"""The bias study on a real Whisper and real recordings; the top of test_real_whisper.py says how to run it."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.real import required
from test_run_bias import run

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.usable import keep_scorable
from modeling_distilwhisper.data.voice import Silero

pytestmark = pytest.mark.real
CLIPS = 6


@pytest.fixture(scope="module")
def short_prompts(tmp_path_factory):
    """The shortest Russian test prompts that say four words or more."""
    prompts = Path(required("DISTILWHISPER_TEST_PROMPTS"))
    rows, _ = keep_scorable(read_folder(prompts / "ru", "test", "ru"))
    rows = rows.filter(lambda row: len(row["text"].split()) >= 4, keep_in_memory=True).sort("seconds")
    folder = tmp_path_factory.mktemp("prompts") / "ru/test"
    folder.mkdir(parents=True)
    lines = ["file_name,transcription,language,gender"]
    for row in rows.select(range(CLIPS)):
        source = Path(row["audio"]["path"])
        shutil.copy(source, folder / source.name)
        lines.append(f'{source.name},"{row["text"]}",ru,female')
    (folder / "metadata.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder.parent


def test_quantised_whispers_still_hear_russian_and_are_told_from_the_whole_one(short_prompts, tmp_path):
    torch.set_num_threads(os.cpu_count())
    model = f"base={required('DISTILWHISPER_TEST_CHECKPOINT')}"
    data = ["--data", f"prompts={short_prompts}", "--languages", "ru", "--splits", "test"]
    precisions = ["--precision", "float32", "int8", "nf4", "torchao-int8"]
    run("--models", model, *data, *precisions, "--output_dir", tmp_path, "--device", "cpu")
    wers = pd.read_csv(tmp_path / "tables/languages.csv").set_index("precision")["wer"]
    assert wers["float32"] < 60 and (wers - wers["float32"]).abs().max() < 30
    classes = pd.read_csv(tmp_path / "tables/classes.csv").query("by == 'language'").set_index("precision")
    assert set(classes.index) == {"int8", "nf4", "torchao-int8"}
    assert np.allclose(classes[["worse", "similar", "better"]].sum(axis=1), 100)
    assert classes.loc["torchao-int8", "similar"] >= classes.loc["nf4", "similar"], "8 bits change less than 4"
    assert classes["too small"].all(), "six clips are too few"


def test_silero_finds_speech_in_every_prompt_and_none_in_noise_as_long(short_prompts):
    detector = Silero()
    for path in sorted((short_prompts / "test").glob("*.flac")):
        samples = read_audio(path)
        assert detector(samples)
        assert not detector(1e-3 * np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32))
