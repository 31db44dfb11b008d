"""A checkpoint as the authors write them."""

import pytest
from helpers import authors


@pytest.fixture
def theirs(whisper, tmp_path):
    """Their folder, and each language's tensors."""
    return tmp_path / "theirs", authors.write_checkpoint(tmp_path / "theirs", whisper)
