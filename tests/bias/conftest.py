"""A small study with planted differences (`planted.py`)."""

import pytest
from helpers import planted

from modeling_distilwhisper.bias.study import read_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    study_folder = tmp_path_factory.mktemp("study")
    planted.write_fleurs(study_folder)
    planted.write_common_voice(study_folder)
    return study_folder


@pytest.fixture(scope="module")
def study(folder):
    return read_study(folder)
