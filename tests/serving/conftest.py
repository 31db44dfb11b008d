"""An engine on a tiny Whisper with experts for gl and ca of its own, and for ru and fr from another folder."""

import pytest
from helpers import serving


@pytest.fixture(scope="session")
def places(whisper_dir, tmp_path_factory):
    """A model with experts for gl and ca, and a folder with experts for ru and fr."""
    import torch
    from helpers import tiny

    from modeling_distilwhisper import DistilWhisperForConditionalGeneration
    from modeling_distilwhisper.runs.any_whisper import load_processor

    folder = tmp_path_factory.mktemp("served")
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl", "ca"])
    tiny.unsettle(model)
    model.generation_config.max_length = 24
    model.save_pretrained(folder / "tiny")
    load_processor(str(whisper_dir)).save_pretrained(folder / "tiny")
    more = serving.write_experts(folder / "more", whisper_dir, ("ru", "fr"))
    return folder / "tiny", more


@pytest.fixture
def engine(places):
    return serving.make_engine(places)
