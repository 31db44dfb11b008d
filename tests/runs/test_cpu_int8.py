"""A Whisper in 8 bits on a CPU is nearly the same Whisper, whatever is beside a token."""

import pytest
import torch
from helpers import tiny
from torch import nn

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_model
from modeling_distilwhisper.runs.cpu_int8 import Int8Linear, in_cpu_int8


@pytest.fixture(scope="module", params=[0, 4], ids=["full experts", "low rank"])
def folder(request, wide_whisper_dir, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int8")
    settings = {"languages": ["gl", "ca"], "expert_rank": request.param}
    model = DistilWhisperForConditionalGeneration.from_whisper(wide_whisper_dir, **settings)
    tiny.unsettle(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@torch.inference_mode()
def logits(model, batch, languages) -> torch.Tensor:
    ids = [[50, model.generation_config.lang_to_id[f"<|{language}|>"], 40, 41] for language in languages]
    return model(**batch, decoder_input_ids=torch.tensor(ids)).logits


def test_it_computes_nearly_what_it_computes_in_float32(folder, processor):
    """One scale for all tokens, as PyTorch has it, made real transcripts worse than in float32."""
    batch, languages = tiny.make_audio(processor, [1.0, 0.6, 1.9]), ["gl", "fr", "ca"]
    expected = logits(load_model(folder, "float32"), batch, languages)
    model = load_model(folder, "cpu-int8")
    difference = (logits(model, batch, languages) - expected).abs().mean() / expected.abs().mean()
    assert 0 < difference < 0.05
    left = {name.rpartition(".")[0] for name, one in model.named_modules() if type(one) is nn.Linear}
    assert left and all(".experts." in name for name in left), "gates and low ranks alone"
    assert isinstance(model.proj_out, Int8Linear)


def test_no_token_depends_on_the_tokens_beside_it(folder):
    """PyTorch rounds all tokens of a batch by the largest value among them."""
    matrix = load_model(folder, "cpu-int8").get_encoder().layers[0].fc1
    states = torch.randn(6, matrix.in_features) * torch.tensor([1, 100, 1, 0, 1e-3, 1]).unsqueeze(1)
    with torch.inference_mode():
        together = matrix(states)
        assert all(torch.equal(together[row], matrix(states[row])) for row in range(6))
        assert torch.equal(together[3], matrix.bias), "a token of zeros is no division by zero"


def test_outputs_have_the_matrices_shape_and_rounding_is_small():
    torch.manual_seed(0)
    for bias in (True, False):
        linear = nn.Linear(48, 96, bias=bias)
        matrix, states = Int8Linear(linear), torch.randn(2, 5, 48)
        with torch.inference_mode():
            assert matrix(states).shape == (2, 5, 96)
            assert (matrix(states) - linear(states)).abs().mean() < 0.02 * linear(states).abs().mean()


def test_another_device_is_refused_before_anything_is_loaded(folder):
    with pytest.raises(ValueError, match="cpu-int8 is for a CPU, got the device cuda"):
        load_model(str(folder / "absent"), "cpu-int8", "cuda")


def test_a_model_is_changed_in_place_and_transcribes(folder, processor):
    model = load_model(folder, "float32")
    assert in_cpu_int8(model) is model
    features = tiny.make_audio(processor, [1.0])
    assert model.generate(**features, language="gl", max_new_tokens=5).shape[0] == 1
