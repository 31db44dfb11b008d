"""How often the CPU waits for an accelerator, which has nothing to do meanwhile: no result shows it."""

import json

import pytest
from helpers.scripts import ROOT, run_script

pytest.importorskip("torch.utils.backend_registration")


@pytest.fixture(scope="module")
def waits():
    """For each layer and besides, by system and pass, on a device of its own kind."""
    status, output, errors = run_script(ROOT / "tests/helpers/waits.py")
    if "cannot import name '_setup_privateuseone_for_python_backend'" in errors:
        pytest.skip("this PyTorch has no devices in Python")
    assert status == 0, errors[-3000:]
    return {name: (one["layer"], one["besides"]) for name, one in json.loads(output.splitlines()[-1]).items()}


@pytest.mark.parametrize("languages", ["plain", "one language", "mixed"])
def test_no_decoding_step_and_no_prompt_waits_for_an_accelerator(waits, languages):
    assert waits[f"{languages}, decode"] == waits[f"{languages}, prefill"] == (0, 0)


@pytest.mark.parametrize("languages", ["one language", "mixed"])
def test_an_encoder_layer_waits_once_until_it_knows_how_many_tokens_take_each_path(waits, languages):
    assert waits[f"{languages}, encoder"] == (1, 0)


def test_a_training_step_waits_once_for_each_layer_and_its_thresholds_for_all_layers_together(waits):
    """A layer of the encoder and one of the decoder."""
    layer, besides = waits["one language, training"]
    assert layer == 2 and besides <= 8
