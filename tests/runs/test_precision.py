"""A model in fewer bits is the same model, nearly; its experts, gates and output matrix are not touched."""

import sys

import pytest
import torch
from helpers import tiny
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSpeechSeq2Seq
from transformers.quantizers.quantizers_utils import should_convert_module

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.runs.precision import PRECISIONS, QUANTISED, precision_settings

STORED = {"auto": "float32", "int8": "int8", "nf4": "uint8", "torchao-int8": "Int8Tensor"}  # others as they are called


def stored(model) -> str:
    """The type in which a matrix of Whisper is stored."""
    weight = model.get_encoder().layers[0].self_attn.q_proj.weight
    return type(weight).__name__ if type(weight).__name__ == "Int8Tensor" else str(weight.dtype).removeprefix("torch.")


@pytest.fixture(scope="module")
def unquantised(wide_whisper_dir):
    return AutoModelForSpeechSeq2Seq.from_pretrained(wide_whisper_dir).eval()


@pytest.fixture(scope="module")
def inputs(unquantised, processor):
    ids = torch.tensor([[unquantised.config.decoder_start_token_id, 40, 41]] * 2)
    features = tiny.make_audio(processor, [1.0, 1.5])["input_features"]
    return {"input_features": features, "decoder_input_ids": ids}


@torch.no_grad()
def logits(model, inputs) -> torch.Tensor:
    return model(**inputs | {"input_features": inputs["input_features"].to(model.dtype)}).logits.float()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_whisper_in_any_precision_is_stored_as_asked_and_computes_nearly_the_same(
    wide_whisper_dir, unquantised, inputs, precision
):
    model = AutoModelForSpeechSeq2Seq.from_pretrained(wide_whisper_dir, **precision_settings(precision, "cpu")).eval()
    assert stored(model) == STORED.get(precision, precision)
    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)
    assert model.dtype == half and model.proj_out.weight.dtype == half
    expected = logits(unquantised, inputs)
    difference = (logits(model, inputs) - expected).abs().mean() / expected.abs().mean()
    assert difference < {"nf4": 0.5}.get(precision, 0.1)
    assert (difference == 0) == (precision in ("auto", "float32"))


@pytest.mark.parametrize("precision", QUANTISED)
def test_experts_and_gates_of_a_quantised_model_are_bit_for_bit_what_was_saved(wide_whisper_dir, tmp_path, precision):
    model = DistilWhisperForConditionalGeneration.from_whisper(wide_whisper_dir, languages=["gl"])
    tiny.unsettle(model)
    model.save_pretrained(tmp_path)
    settings = precision_settings(precision)
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path, **settings)
    assert stored(loaded) == STORED[precision]
    saved, experts = (
        {name: weight for name, weight in one.named_parameters() if ".experts." in name} for one in (model, loaded)
    )
    assert experts.keys() == saved.keys() and saved
    assert all(torch.equal(experts[name], saved[name]) for name in saved)


@pytest.mark.parametrize("precision", QUANTISED)
def test_experts_that_are_in_the_model_as_it_is_quantised_are_skipped_too(wide_whisper_dir, precision):
    """A bare "experts" among the modules to skip would match none of them, and gates decide at a hair's breadth."""
    quantisation = precision_settings(precision)["quantization_config"]
    skipped = getattr(quantisation, "llm_int8_skip_modules", None) or quantisation.modules_to_not_convert
    whisper = DistilWhisperForConditionalGeneration.from_whisper(wide_whisper_dir, languages=["gl"])
    converted = {name for name, _ in whisper.named_modules() if should_convert_module(name, skipped)}
    assert "model.encoder.layers.0.fc1" in converted and "model.decoder.layers.1.encoder_attn.q_proj" in converted
    assert not [name for name in converted if ".experts" in name or name == "proj_out"]


@pytest.mark.parametrize("precision", QUANTISED)
def test_an_adapter_on_a_quantised_whisper_still_adapts(wide_whisper_dir, unquantised, inputs, tmp_path, precision):
    torch.manual_seed(0)
    plain = AutoModelForSpeechSeq2Seq.from_pretrained(wide_whisper_dir)
    settings = LoraConfig(r=4, target_modules=["fc1", "fc2"], init_lora_weights=False)
    adapted = get_peft_model(plain, settings).eval()
    adapted.save_pretrained(tmp_path)
    loaded = AutoModelForSpeechSeq2Seq.from_pretrained(tmp_path, **precision_settings(precision)).eval()
    expected, actual, unadapted = (logits(model, inputs) for model in (adapted, loaded, unquantised))
    assert (actual - expected).abs().mean() < 0.5 * (unadapted - expected).abs().mean()


@pytest.mark.parametrize("precision", QUANTISED)
def test_a_missing_library_is_named_with_how_to_install_it(monkeypatch, precision):
    for library in ("bitsandbytes", "torchao"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ImportError, match=r'needs (bitsandbytes|torchao), .*pip install "modeling_distilwhisper\[quantised\]"'
    ):
        precision_settings(precision)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="must be one of auto, float32, .* got 'int4'"):
        precision_settings("int4")


def test_on_a_gpu_quantised_weights_are_computed_with_in_half_precision_where_they_were_asked_for():
    assert precision_settings("auto", "cuda") == {"dtype": "auto"}
    nf4 = precision_settings("nf4", "cuda:1")
    assert nf4["dtype"] == torch.float16 and nf4["device_map"] == {"": "cuda:1"}
    assert nf4["quantization_config"].bnb_4bit_compute_dtype == torch.float16
