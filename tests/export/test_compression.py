"""Small experts are nearly the large ones: the best update of a rank, gates untouched, and 8-bit files that say so."""

import pytest
import torch
from helpers import tiny
from helpers.scripts import run_command
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import forced_gates
from modeling_distilwhisper.expert_layers_distilwhisper import LowRankLinear
from modeling_distilwhisper.export.low_rank import compress_experts


def logits(model, processor, language="gl"):
    token = processor.tokenizer.convert_tokens_to_ids(f"<|{language}|>")
    batch = tiny.make_audio(processor, [1.0, 2.0])
    with torch.no_grad():
        return model(**batch, labels=torch.tensor([[token, *range(5, 12)]] * 2)).logits


@pytest.fixture(scope="module")
def wide_dir(processor, tmp_path_factory):
    """So wide, with gates so narrow, that an expert's file is its matrices and little else."""
    folder = tmp_path_factory.mktemp("wide")
    wide = {"d_model": 256, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024, "init_std": 0.1}
    tiny.make_whisper(processor, **wide).save_pretrained(folder)
    return folder


def wide_model(folder, languages, **settings):
    model = DistilWhisperForConditionalGeneration.from_whisper(folder, languages=languages, gate_dim=8, **settings)
    tiny.unsettle(model)
    return model.eval()


def size_of_file(model, folder, **settings):
    model.save_experts(folder, languages=["gl"], **settings)
    return (folder / "expert.gl.safetensors").stat().st_size


def test_at_full_rank_compressed_experts_are_the_full_ones(model, processor):
    expected = logits(model, processor)
    compress_experts(model, rank=32, languages=["gl"])
    torch.testing.assert_close(logits(model, processor), expected, atol=1e-3, rtol=1e-3)
    assert all(isinstance(expert.fc1, LowRankLinear) for expert in model.experts_of("gl").values())
    assert not any(isinstance(expert.fc1, LowRankLinear) for expert in model.experts_of("ca").values())


def test_no_other_update_of_the_rank_is_nearer(model):
    """What is lost are the smaller singular values, all of them and nothing else (Eckart and Young, 1936)."""
    before = {
        (place, name): getattr(expert, name).weight.detach().clone()
        for place, expert in model.experts_of("gl").items()
        for name in ("fc1", "fc2")
    }
    gates = {place: expert.gate.state_dict() for place, expert in model.experts_of("gl").items()}
    compress_experts(model, rank=5)
    for place, expert in model.experts_of("gl").items():
        layer = model.routed_layers()[place]
        for name in ("fc1", "fc2"):
            shared = getattr(layer, name)
            weight, _ = getattr(expert, name).dense(shared)
            left_out = torch.linalg.svdvals(before[place, name] - shared.weight)[5:]
            torch.testing.assert_close(
                (weight - before[place, name]).square().sum(), left_out.square().sum(), rtol=1e-3, atol=1e-4
            )
        for key, tensor in expert.gate.state_dict().items():
            assert torch.equal(tensor, gates[place][key])


def test_a_tenth_of_the_size_is_saved_as_such_and_loads_as_it_was(processor, tmp_path, wide_dir):
    model = wide_model(wide_dir, ["gl"])
    full = size_of_file(model, tmp_path / "full")
    compress_experts(model, rank=20)  # 20 * (256 + 1024) numbers for 256 * 1024
    assert 0.09 * full < size_of_file(model, tmp_path / "low") < 0.11 * full
    again = wide_model(wide_dir, [])
    again.load_experts(tmp_path / "low", "gl")
    torch.testing.assert_close(logits(again, processor), logits(model, processor))


def test_experts_without_biases_of_their_own_are_no_longer_taken_for_whole(model, tmp_path):
    compress_experts(model, rank=2)
    model.save_experts(tmp_path)
    path = tmp_path / "expert.gl.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = {key: tensor for key, tensor in load_file(path).items() if not key.endswith("up.bias")}
    save_file(tensors, path, metadata)
    model.remove_language("gl")
    with pytest.raises(ValueError, match=r"missing.*up\.bias"):
        model.load_experts(tmp_path, "gl")


@pytest.mark.parametrize("rank", [0, 33])
def test_a_rank_out_of_range_is_refused(model, rank):
    with pytest.raises(ValueError, match=f"Expected a rank from 1 to 32, got {rank}"):
        compress_experts(model, rank=rank)


def test_experts_are_compressed_once(model):
    compress_experts(model, rank=3)
    with pytest.raises(ValueError, match="of low rank already"):
        compress_experts(model, rank=3)


@pytest.mark.parametrize("rank", [0, 64])
def test_an_8_bit_file_is_a_quarter_and_within_half_a_step_of_what_it_was(wide_dir, processor, tmp_path, rank):
    model = wide_model(wide_dir, ["gl"], expert_rank=rank)
    full = size_of_file(model, tmp_path / "full")
    assert 0.25 * full < size_of_file(model, tmp_path / "int8", int8=True) < 0.29 * full
    stored = load_file(tmp_path / "int8/expert.gl.safetensors")
    matrices = [key for key in stored if key + ".scale" in stored]
    assert matrices and all(stored[key].dtype == torch.int8 for key in matrices)
    assert not [key for key in matrices if ".gate." in key]
    loaded = wide_model(wide_dir, [])
    loaded.load_experts(tmp_path / "int8", "gl")
    ours, theirs = loaded.state_dict(), model.state_dict()
    for key, tensor in theirs.items():
        step = stored.get(key + ".scale", torch.zeros(1))
        assert ((ours[key] - tensor).abs() <= 0.5001 * step).all() or ours[key].equal(tensor), key
    with forced_gates(model, is_open=True), forced_gates(loaded, is_open=True):
        difference = (logits(loaded, processor) - logits(model, processor)).abs().mean()
        assert 0 < difference < 0.05 * logits(model, processor).abs().mean()


def test_a_scale_without_its_integers_is_refused(model, tmp_path):
    model.save_experts(tmp_path, int8=True)
    path = tmp_path / "expert.gl.safetensors"
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(key.removesuffix(".scale") for key in tensors if key.endswith(".scale"))
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, path, metadata)
    model.remove_language("gl")
    with pytest.raises(ValueError, match="missing"):
        model.load_experts(tmp_path, "gl")


def test_the_script_writes_a_model_with_small_experts(model, processor, tmp_path):
    model.save_pretrained(tmp_path / "full")
    processor.save_pretrained(tmp_path / "full")
    flags = ["--rank", 3, "--int8", "--output_dir", tmp_path / "small"]
    status, printed, errors = run_command("compress", tmp_path / "full", *flags)
    assert status == 0, errors
    assert "gl" in printed and "ca" in printed
    small = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "small")
    compress_experts(model, rank=3)
    whole, stored = logits(model, processor), logits(small, processor)
    assert (stored - whole).abs().mean() < 0.1 * whole.abs().mean()
    assert run_command("compress", tmp_path / "full", *flags)[0] == 2, "what is there is not written over"
