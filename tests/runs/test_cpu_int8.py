"""A Whisper in 8 bits on a CPU is nearly the same Whisper, whatever is beside a token."""

import pytest
import torch
from helpers import tiny
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSpeechSeq2Seq

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_model
from modeling_distilwhisper.evaluation.gates import forced_gates
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
    model, settings = load_model(folder, "float32"), {"language": "gl", "max_new_tokens": 3}
    features = tiny.make_audio(processor, [1.0])
    expected = model.generate(**features, **settings)
    assert in_cpu_int8(model) is model
    with forced_gates(model, is_open=True):  # at a hair's breadth, a gate may decide otherwise
        opened = model.generate(**features, **settings)
    assert model.generate(**features, **settings).shape == opened.shape == expected.shape
    assert not torch.equal(opened, load_model(folder, "float32").generate(**features, language="fr", max_new_tokens=3))


def test_an_adapter_still_adapts(wide_whisper_dir, processor, tmp_path):
    """PEFT reads the weights of its own matrices, which 8-bit ones do not have."""
    torch.manual_seed(0)
    plain = AutoModelForSpeechSeq2Seq.from_pretrained(wide_whisper_dir)
    settings = LoraConfig(r=4, target_modules=["fc1", "fc2"], init_lora_weights=False)
    get_peft_model(plain, settings).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    batch = tiny.make_audio(processor, [1.0, 0.6])
    adapted, quantised, unadapted = (
        logits(load_model(str(place), precision), batch, ["gl", "fr"])
        for place, precision in ((tmp_path, "float32"), (tmp_path, "cpu-int8"), (wide_whisper_dir, "float32"))
    )
    assert (quantised - adapted).abs().mean() < 0.2 * (unadapted - adapted).abs().mean()
