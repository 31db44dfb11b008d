import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import speech
import tiny
import torch

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other


@pytest.fixture(autouse=True)
def seed():
    """New gates are random: without it, what a test sees would depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def processor():
    return tiny.make_processor()


@pytest.fixture(scope="session")
def whisper_dir(processor, tmp_path_factory):
    """A plain tiny Whisper as a folder."""
    folder = tmp_path_factory.mktemp("whisper")
    tiny.make_whisper(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_whisper_dir(processor, tmp_path_factory):
    """64 wide, the size of NF4's blocks: with narrower rows bitsandbytes fails on CPUs that have AVX512-BF16."""
    folder = tmp_path_factory.mktemp("wide")
    tiny.make_whisper(processor, d_model=64, encoder_ffn_dim=64, init_std=0.2).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def whisper(whisper_dir):
    from transformers import WhisperForConditionalGeneration

    return WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()


@pytest.fixture
def fresh(whisper_dir, seed):
    """New experts for gl and ca: copies of the shared path."""
    return DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"]).eval()


@pytest.fixture
def model(fresh):
    """Experts for gl and ca that differ from the shared path, with gates about half open."""
    tiny.unsettle(fresh)
    return fresh


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    return {
        language: speech.write_folder(folder / language, language, seed=i) for i, language in enumerate(("gl", "ca"))
    }
