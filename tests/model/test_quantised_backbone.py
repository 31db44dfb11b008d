"""Experts and adapters learn on a quantised backbone, which stays as it is, and load on it again."""

import json

import pytest
import torch
from helpers import tiny
from helpers.scripts import run_script
from helpers.training import make_trainer
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.evaluation.gates import forced_gates
from modeling_distilwhisper.export.low_rank import compress_experts
from modeling_distilwhisper.runs.precision import precision_settings

PRECISIONS = ("int8", "nf4")


def load(folder, precision, **settings):
    return DistilWhisperForConditionalGeneration.from_whisper(
        folder, languages=["gl"], **precision_settings(precision), **settings
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_new_full_experts_are_what_the_quantised_feed_forward_does(wide_whisper_dir, processor, precision):
    routed = load(wide_whisper_dir, precision).eval()
    plain = WhisperForConditionalGeneration.from_pretrained(wide_whisper_dir, **precision_settings(precision)).eval()
    full_precision = WhisperForConditionalGeneration.from_pretrained(wide_whisper_dir).eval()
    token = processor.tokenizer.convert_tokens_to_ids("<|gl|>")
    inputs = tiny.make_audio(processor, [1.0, 2.0]) | {"labels": torch.tensor([[token, *range(5, 12)]] * 2)}
    with torch.no_grad():
        ours, theirs, exact = (model(**inputs).logits for model in (routed, plain, full_precision))
    assert (ours - theirs).abs().mean() < 0.5 * (exact - theirs).abs().mean()


@pytest.mark.parametrize("precision", [*PRECISIONS, "torchao-int8"])
def test_rows_of_several_languages_take_both_paths_in_every_precision(wide_whisper_dir, processor, precision):
    model = load(wide_whisper_dir, precision).eval()
    tiny.unsettle(model)
    audio = tiny.make_audio(processor, [1.0, 2.0, 1.5])
    settings = {"task": "transcribe", "max_new_tokens": 6, "min_new_tokens": 6}
    together = model.generate(**audio, language=["gl", "fr", "gl"], **settings)
    assert together.shape[0] == 3
    with forced_gates(model, is_open=False):
        closed = model.generate(**audio, language=["gl", "fr", "gl"], **settings)
    assert torch.equal(together[1], closed[1]) and not torch.equal(together, closed)


@pytest.mark.parametrize("precision", [*PRECISIONS, "torchao-int8"])
def test_nothing_is_lost_by_experts_of_full_rank_on_a_quantised_backbone(wide_whisper_dir, precision):
    model = load(wide_whisper_dir, precision).eval()
    tiny.unsettle(model)
    layer = model.model.encoder.layers[0]
    states = torch.randn(20, 64)
    with torch.no_grad():
        before = layer.experts["gl"](states, layer)
        compress_experts(model, rank=64)
        lost = (layer.experts["gl"](states, layer) - before).abs().mean()
        compared = (layer.shared(states) - before).abs().mean()
    assert lost < 0.05 * compared, "LLM.int8() rounds its inputs too"


@pytest.mark.parametrize(("precision", "rank"), [("int8", 4), ("nf4", 0)])
def test_training_moves_experts_alone_and_they_load_on_the_quantised_backbone_again(
    wide_whisper_dir, processor, recordings, tmp_path, precision, rank
):
    torch.manual_seed(0)
    model = load(wide_whisper_dir, precision, expert_rank=rank)
    before = tiny.state_of(model)
    trainer = make_trainer(model, processor, recordings, tmp_path / "run", num_train_epochs=3, save_strategy="epoch")
    trainer.train()
    losses = [line["ce_loss"] for line in trainer.state.log_history if "ce_loss" in line]
    assert sum(losses[-3:]) < sum(losses[:3])
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and all(".experts.gl." in name for name in moved)

    model.save_pretrained(tmp_path / "saved", save_backbone=False)
    assert "quantization_config" not in json.loads((tmp_path / "saved/config.json").read_text())
    assert all(tensor.is_floating_point() for tensor in load_file(tmp_path / "saved/expert.gl.safetensors").values())
    again = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "saved", **precision_settings(precision))
    model.eval()
    batch = tiny.make_audio(processor, [1.0, 2.0])
    prompt = torch.tensor([processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|gl|>"])] * 2)
    with torch.no_grad():
        ours, theirs = (one(**batch, decoder_input_ids=prompt).logits for one in (again, model))
    # bitsandbytes computes in half precision at inference where it can, so the digits differ.
    assert (ours - theirs).abs().mean() < 0.02 * theirs.abs().mean()
    DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "saved")  # and in full precision


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_quantised_model_with_its_backbone_loads_as_it_was(wide_whisper_dir, processor, tmp_path, precision):
    model = load(wide_whisper_dir, precision).eval()
    tiny.unsettle(model)
    model.save_pretrained(tmp_path)
    again = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path)
    assert again.is_quantized
    batch = tiny.make_audio(processor, [1.0])
    prompt = torch.tensor([processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|gl|>"])])
    with torch.no_grad():
        ours, theirs = (one(**batch, decoder_input_ids=prompt).logits for one in (again, model))
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.slow
def test_the_script_trains_an_adapter_on_a_quantised_student_that_loads(wide_whisper_dir, recordings, tmp_path):
    flags = ["--student", wide_whisper_dir, "--student_precision", "int8", "--method", "lora", "--languages", "gl"]
    flags += ["--data", recordings["gl"], "--output_dir", tmp_path / "run", "--max_steps", 2, "--report_to", "none"]
    flags += ["--generation_max_length", 16, "--per_device_train_batch_size", 4]
    status, _, errors = run_script("run_distil.py", *flags)
    assert status == 0, errors
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["scores"]["after"]["gl"]["gl"]["words"] == 8 and "transcript" in " ".join(results["example"])
    assert not (tmp_path / "run/model.safetensors").exists()
    base = WhisperForConditionalGeneration.from_pretrained(wide_whisper_dir, **precision_settings("int8"))
    pytest.importorskip("peft").PeftModel.from_pretrained(base, tmp_path / "run")
