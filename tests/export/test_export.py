"""An export is a plain Whisper that does what the routed model does where each layer's path is fixed."""

import json

import pytest
import torch
from helpers import tiny
from helpers.scripts import run_command
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens
from modeling_distilwhisper.evaluation.gates import forced_gates
from modeling_distilwhisper.export.low_rank import compress_experts
from modeling_distilwhisper.export.onnx import export_to_onnx
from modeling_distilwhisper.export.whisper import export_to_whisper, save_processor


def logits(model, processor):
    token = processor.tokenizer.convert_tokens_to_ids("<|gl|>")
    with torch.no_grad():
        return model(**tiny.make_audio(processor, [1.0, 2.0]), labels=torch.tensor([[token, *range(5, 12)]] * 2)).logits


def shares_of(model, share):
    return dict.fromkeys(model.routed_layers(), share)


@pytest.mark.parametrize("low_rank", [False, True])
def test_experts_in_all_layers_are_the_routed_model_with_open_gates(model, processor, tmp_path, low_rank):
    if low_rank:
        compress_experts(model, rank=3)
        with torch.no_grad():
            for expert in model.experts_of("gl").values():
                expert.fc1.up.bias += 0.1
    export_to_whisper(model, "gl", shares_of(model, 1.0)).save_pretrained(tmp_path)
    plain = WhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert plain.config.model_type == "whisper"
    assert "languages" not in json.loads((tmp_path / "config.json").read_text())
    with forced_gates(model, is_open=True):
        torch.testing.assert_close(logits(plain, processor), logits(model, processor), atol=1e-4, rtol=1e-4)


def test_shared_paths_in_all_layers_are_whisper(model, whisper, processor):
    assert torch.equal(
        logits(export_to_whisper(model, "gl", shares_of(model, 0.0)), processor), logits(whisper, processor)
    )


def test_every_layer_takes_its_own_path(model, processor):
    shares = {place: float(sum(place[0].encode()) + place[1] & 1) for place in model.routed_layers()}
    assert set(shares.values()) == {0.0, 1.0}
    for place, layer in model.routed_layers().items():
        threshold = -torch.inf if shares[place] else torch.inf
        layer.experts["gl"].gate.threshold.fill_(threshold)
    plain = export_to_whisper(model, "gl", shares)
    torch.testing.assert_close(logits(plain, processor), logits(model, processor), atol=1e-4, rtol=1e-4)


def test_a_share_in_between_is_the_mean_of_the_weights_and_leaves_the_model_alone(model):
    before = tiny.state_of(model)
    plain = export_to_whisper(model, "gl", shares_of(model, 0.25))
    for (side, index), expert in model.experts_of("gl").items():
        layer = model.routed_layers()[side, index]
        mixed = getattr(plain.model, side).layers[index].fc1
        torch.testing.assert_close(mixed.weight, 0.25 * expert.fc1.weight + 0.75 * layer.fc1.weight)
        torch.testing.assert_close(mixed.bias, 0.25 * expert.fc1.bias + 0.75 * layer.fc1.bias)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert plain.generation_config.lang_to_id == model.generation_config.lang_to_id


def test_a_missing_layer_or_a_language_without_expert_is_refused(model):
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        export_to_whisper(model, "gl", {("encoder", 0): 1.0})
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        export_to_whisper(model, "gl", shares_of(model, 1.5))
    with pytest.raises(ValueError, match="No expert of 'fr' is loaded"):
        export_to_whisper(model, "fr", shares_of(model, 1.0))


def test_the_script_exports_what_errs_least_and_says_how_far_it_is_from_the_routed_model(
    model, processor, recordings, tmp_path
):
    model.save_pretrained(tmp_path / "routed")
    processor.save_pretrained(tmp_path / "routed")
    flags = ["--language", "gl", "--data", recordings["gl"], "--output_dir", tmp_path / "plain"]
    status, printed, errors = run_command("export", tmp_path / "routed", *flags)
    assert status == 0, errors
    about = json.loads((tmp_path / "plain/export.json").read_text())
    scores = {row[""]: row for row in about["scores"]}
    assert list(scores) == ["routed", "majority", "mean", "experts"]
    assert scores["routed"]["WER against routed"] == 0 and scores["routed"]["same transcripts"] == "4 of 4"
    best = min(scores[way]["WER"] for way in ("majority", "mean", "experts"))
    assert scores[about["way"]]["WER"] == best and about["way"] in printed

    plain = WhisperForConditionalGeneration.from_pretrained(tmp_path / "plain").eval()
    routed = DistilWhisperForConditionalGeneration.from_pretrained(tmp_path / "routed")
    decide = {"majority": lambda share: float(share > 0.5), "mean": float, "experts": lambda share: 1.0}[about["way"]]
    shares = {(side, i): decide(about["expert usage"][f"{side} {i}"]) for side, i in routed.routed_layers()}
    assert 0 < about["expert usage"]["all"] < 1
    assert torch.equal(logits(plain, processor), logits(export_to_whisper(routed, "gl", shares), processor))
    assert run_command("export", tmp_path / "routed", *flags)[0] == 2, "what is there is not written over"


def test_what_was_heard_before_of_another_model_is_not_taken_for_this_ones(model, processor, recordings, tmp_path):
    for name in ("one", "other"):
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        tiny.unsettle(model, seed=7)
    flags = ["--language", "gl", "--data", recordings["gl"], "--output_dir", tmp_path / "plain"]
    assert run_command("export", tmp_path / "one", *flags)[0] == 0
    for left in ("config.json", "export.json"):  # as a run that was killed had not written them
        (tmp_path / "plain" / left).unlink()
    status, _, errors = run_command("export", tmp_path / "other", *flags)
    assert status != 0 and "holds a run with other settings" in errors and "weights" in errors
    assert run_command("export", tmp_path / "one", *flags)[0] == 0


def test_a_model_in_half_precision_is_exported_in_full(model, processor, recordings, tmp_path):
    model.half().save_pretrained(tmp_path / "half")
    processor.save_pretrained(tmp_path / "half")
    flags = ["--language", "gl", "--data", recordings["gl"], "--output_dir", tmp_path / "plain", "--max_rows", 1]
    status, _, errors = run_command("export", tmp_path / "half", *flags)
    assert status == 0, errors
    assert WhisperForConditionalGeneration.from_pretrained(tmp_path / "plain").dtype == torch.float32
    with pytest.raises(ValueError, match="Expected a model in float32.*got one in torch.float16"):
        export_to_onnx(model, "gl", tmp_path / "onnx")


def test_a_language_without_a_token_takes_its_relatives_in_a_plain_whisper(whisper_dir, processor, tmp_path):
    """More tokens than Whisper's would move the timestamps, which its tools count from the end of the vocabulary."""
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "gl"], init_from={"ga": "fr"}).eval()
    tiny.unsettle(model)
    for expert in model.experts_of("ga").values():
        expert.gate.threshold.fill_(-torch.inf)
    with torch.no_grad():
        model.modules_of("ga").parts.embedding += 1.0
    tokenizer = WhisperProcessor.from_pretrained(whisper_dir).tokenizer
    add_own_tokens(tokenizer, model)
    whisper = export_to_whisper(model, "ga", shares_of(model, 1.0))
    whisper.save_pretrained(tmp_path)
    save_processor(WhisperProcessor(processor.feature_extractor, tokenizer), tmp_path, model.config.vocab_size)
    loaded, read = WhisperForConditionalGeneration.from_pretrained(tmp_path), WhisperProcessor.from_pretrained(tmp_path)
    assert model.whisper_language("ga") == "fr" and loaded.config.vocab_size == model.config.vocab_size
    assert read.tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    assert "<|ga|>" not in loaded.generation_config.lang_to_id
    audio = tiny.make_audio(processor, [1.0, 2.0])
    for settings in ({}, {"return_timestamps": True}):
        expected = model.generate(**audio, language="ga", max_new_tokens=8, **settings)
        assert torch.equal(loaded.generate(**audio, language="fr", max_new_tokens=8, **settings), expected)


def test_other_tools_find_every_token_and_the_number_of_mel_bins(processor, tmp_path):
    save_processor(processor, tmp_path)
    read = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in ("vocab", "added_tokens")}
    assert read["vocab"] | read["added_tokens"] == processor.tokenizer.get_vocab()
    assert "<|gl|>" in read["added_tokens"] and not read["vocab"].keys() & read["added_tokens"].keys()
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["feature_size"] == processor.feature_extractor.feature_size
    assert WhisperProcessor.from_pretrained(tmp_path).tokenizer.get_vocab() == processor.tokenizer.get_vocab()


def test_graphs_are_not_written_over_a_model(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    flags = ["--language", "gl", "--clip", tmp_path / "any.wav", "--output_dir", tmp_path]
    status, _, errors = run_command("export", "--format", "onnx", tmp_path, *flags)
    assert status == 2 and "holds a model already" in errors
    assert (tmp_path / "config.json").read_bytes() == before
