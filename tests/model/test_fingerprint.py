"""Experts load on the backbone that they were made on, in any precision, and on no other one."""

import json
import time

import pytest
import torch
from helpers import tiny
from safetensors import safe_open
from safetensors.torch import save_file

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, DistilWhisperModel
from modeling_distilwhisper.fingerprint_distilwhisper import fingerprint

DTYPES = ("float32", "bfloat16", "float16")


def backbone_names():
    whisper = tiny.make_whisper(tiny.make_processor())
    return [name for name, tensor in whisper.model.state_dict().items() if tensor.is_floating_point()]


def one_weight_changed(processor, folder, name):
    """The tiny Whisper with one weight changed, in the middle of a tensor, by a step of fine-tuning."""
    other = tiny.make_whisper(processor)
    weights = other.model.state_dict()[name].view(-1)
    weights[len(weights) // 2 + 1] += 1e-3
    other.save_pretrained(folder)
    return DistilWhisperForConditionalGeneration.from_whisper(folder, languages=[])


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layers.1.self_attn.k_proj.weight",
        "encoder.layers.0.self_attn.v_proj.bias",
        "decoder.layers.1.encoder_attn.v_proj.weight",
        "decoder.layers.0.encoder_attn_layer_norm.weight",
        "encoder.layers.0.final_layer_norm.bias",
        "encoder.layers.0.fc1.bias",
        "encoder.conv1.bias",
        "encoder.layer_norm.bias",
        "decoder.layer_norm.bias",
        "encoder.embed_positions.weight",
        "decoder.embed_positions.weight",
        "decoder.embed_tokens.weight",
    ],
)
def test_one_weight_changed_anywhere_is_another_backbone(saved, processor, tmp_path, name):
    model = one_weight_changed(processor, tmp_path / "other", name)
    with pytest.raises(ValueError, match=f"{name} differs"):
        model.load_experts(saved, "gl")


def test_every_tensor_of_the_backbone_counts(model):
    content = json.loads(fingerprint(model))
    assert set(content["digests"]) == set(content["weights"]) == set(backbone_names())


@pytest.mark.parametrize(
    "settings",
    [{"encoder_attention_heads": 4}, {"activation_function": "relu"}, {"scale_embedding": True}],
)
def test_equal_weights_under_another_setting_are_another_backbone(saved, processor, tmp_path, settings):
    tiny.make_whisper(processor, **settings).save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[])
    with pytest.raises(ValueError, match=f"{next(iter(settings))} differs"):
        model.load_experts(saved, "gl")


@pytest.mark.parametrize("made_in", DTYPES)
@pytest.mark.parametrize("loaded_in", DTYPES)
def test_experts_load_on_their_backbone_in_every_precision(whisper_dir, tmp_path, made_in, loaded_in):
    made = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], dtype=made_in)
    made.save_experts(tmp_path)
    for kind in (DistilWhisperForConditionalGeneration, DistilWhisperModel):
        model = kind.from_whisper(whisper_dir, languages=[], dtype=loaded_in)
        model.load_experts(tmp_path, "gl")
        assert model.config.languages == ["gl"]


@pytest.mark.parametrize(
    ("made_in", "loaded_in"), [("float32", "bfloat16"), ("bfloat16", "float32"), ("float16", "float16")]
)
def test_a_change_that_the_coarser_precision_shows_is_another_backbone(
    whisper_dir, processor, tmp_path, made_in, loaded_in
):
    made = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], dtype=made_in)
    made.save_experts(tmp_path)
    other = tiny.make_whisper(processor)
    other.model.encoder.layers[1].self_attn.k_proj.weight.data[3, 5] *= 1.05
    other.save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[], dtype=loaded_in)
    with pytest.raises(ValueError, match="k_proj.weight differs"):
        model.load_experts(tmp_path, "gl")


def test_a_changed_bias_is_noticed_on_a_quantised_backbone(wide_whisper_dir, processor, tmp_path):
    """Its matrices are integers, which are not compared; what is left in floating point is."""
    from modeling_distilwhisper.runs.precision import precision_settings

    made = DistilWhisperForConditionalGeneration.from_whisper(wide_whisper_dir, languages=["gl"])
    made.save_experts(tmp_path)
    int8 = precision_settings("int8")
    DistilWhisperForConditionalGeneration.from_whisper(wide_whisper_dir, languages=[], **int8).load_experts(
        tmp_path, "gl"
    )
    other = tiny.make_whisper(processor, d_model=64, encoder_ffn_dim=64, init_std=0.2)
    other.model.decoder.layers[1].self_attn.v_proj.bias.data[7] += 0.5
    other.save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[], **int8)
    with pytest.raises(ValueError, match="v_proj.bias differs"):
        model.load_experts(tmp_path, "gl")


def test_a_file_of_before_without_digests_is_compared_by_its_samples(saved, processor, tmp_path):
    path = saved / "expert.gl.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    content = json.loads(metadata["fingerprint"])
    old = {key: content[key] for key in ("dtype", "weights")}
    save_file(tensors, path, metadata=metadata | {"fingerprint": json.dumps(old)})
    same = DistilWhisperForConditionalGeneration.from_pretrained(saved, languages=[])
    same.load_experts(saved, "gl")
    other = tiny.make_whisper(processor)
    other.model.encoder.layers[0].fc1.weight.data += 1e-5
    other.save_pretrained(tmp_path / "other")
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path / "other", languages=[])
    with pytest.raises(ValueError, match="fc1.weight differs"):
        model.load_experts(saved, "gl")


@pytest.mark.parametrize("wrong", ["[]", '{"dtype": "float32", "weights": {"encoder.conv1.bias": [1]}, "digests": 7}'])
def test_a_damaged_fingerprint_is_refused_in_words(saved, wrong):
    path = saved / "expert.gl.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}
    save_file(tensors, path, metadata=metadata | {"fingerprint": wrong})
    with pytest.raises(ValueError, match="does not say which backbone it was made on"):
        DistilWhisperForConditionalGeneration.from_pretrained(saved, languages=["gl"])


@pytest.mark.parametrize(
    "change",
    [
        lambda weight: weight.data.mul_(2),
        lambda weight: weight.detach()[1, 1].fill_(7),
        lambda weight: weight.copy_(torch.zeros_like(weight)),
    ],
)
@torch.no_grad()
def test_a_backbone_that_changes_in_memory_has_another_fingerprint(model, change):
    before = json.loads(fingerprint(model))["digests"]
    change(model.model.encoder.layers[1].self_attn.k_proj.weight)
    after = json.loads(fingerprint(model))["digests"]
    assert [name for name in before if before[name] != after[name]] == ["encoder.layers.1.self_attn.k_proj.weight"]


def test_the_digests_of_a_model_are_computed_once(processor, tmp_path):
    tiny.make_whisper(processor, vocab_size=300_000, d_model=64).save_pretrained(tmp_path)
    model = DistilWhisperForConditionalGeneration.from_whisper(tmp_path, languages=[])
    times = []
    for _ in range(3):
        start = time.process_time()
        fingerprint(model)
        times.append(time.process_time() - start)
    assert min(times[1:]) < times[0] / 3, times
