"""What tests on a real Whisper and real recordings need, named in the environment."""

import os

import pytest


def required(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(
            f"{variable} is not set: these tests need real data (see the top of tests/model/test_real_whisper.py)"
        )
    return value
