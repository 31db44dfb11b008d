import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch
from helpers import accelerator, tiny
from helpers import hub as stand_in

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.runs.extras import MissingLibraryError

torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """With DISTILWHISPER_WITHOUT_EXTRAS, tests that need an optional library that is not installed are skipped."""
    try:
        return (yield)
    except MissingLibraryError as error:
        if "DISTILWHISPER_WITHOUT_EXTRAS" not in os.environ:
            raise
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def seed(device):
    """New gates are random: without it, what a test sees would depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def device(request):
    """Where tests make their tensors and models: `DISTILWHISPER_TEST_DEVICE`, by default the CPU.

    A trainer moves models and batches itself, and draws its rows on the CPU: there only the models begin on the device.
    """
    trains = hasattr(request.module, "make_trainer")
    with accelerator.making_tensors_on("cpu" if trains else accelerator.CHOSEN):
        yield torch.device(accelerator.CHOSEN)


@pytest.fixture
def results():
    """What a run wrote, to be changed as a test likes."""
    from helpers import cards  # not above: it needs libraries that a machine with PyTorch and Transformers may lack

    return cards.results()


@pytest.fixture
def summary():
    """What an evaluation of that run wrote."""
    from helpers import cards

    return cards.summary()


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
def whisper(whisper_dir, device):
    from transformers import WhisperForConditionalGeneration

    with torch.device("cpu"):  # the same random numbers on every device
        return WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval().to(device)


@pytest.fixture
def fresh(whisper_dir, seed, device):
    """New experts for gl and ca: copies of the shared path."""
    with torch.device("cpu"):
        return DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"]).eval().to(device)


@pytest.fixture
def model(fresh):
    """Experts for gl and ca that differ from the shared path, with gates about half open."""
    tiny.unsettle(fresh)
    return fresh


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    from helpers import speech

    folder = tmp_path_factory.mktemp("recordings")
    return {
        language: speech.write_folder(folder / language, language, seed=i) for i, language in enumerate(("gl", "ca"))
    }


@pytest.fixture(scope="module")
def served():
    with stand_in.serving() as hub:
        yield hub


@pytest.fixture
def hub(served):
    served.repositories.clear()
    served.requests.clear()
    served.meanwhile = lambda method, path: None
    return served


@pytest.fixture(scope="module")
def client(served, tmp_path_factory):
    """Calls a function in a process that takes the stand-in for the Hub: its address is read on import."""
    environment = {
        "HF_ENDPOINT": served.endpoint,
        "HF_HOME": str(tmp_path_factory.mktemp("home")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "OMP_NUM_THREADS": "1",
    }
    with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(1, get_context("spawn")) as pool:
        patch.delenv("HF_TOKEN", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        yield lambda function, *arguments, **settings: pool.submit(function, *arguments, **settings).result()


@pytest.fixture
def saved(model, processor, tmp_path):
    """A folder with experts for gl and ca."""
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.fixture
def russian(whisper_dir, tmp_path):
    """A folder with experts for ru, on the same backbone, with a budget of their own."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["ru"], gate_budget=0.7)
    tiny.unsettle(model, seed=5)
    model.save_pretrained(tmp_path / "russian")
    return tmp_path / "russian"
