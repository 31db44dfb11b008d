"""Any Whisper teaches: with one more language, other features, fewer bits, an adapter or experts."""

import pytest
import torch
from helpers import speech, tiny
from helpers.training import load, make_trainer, rows_of
from transformers import WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.labels import label_ids
from modeling_distilwhisper.training.losses import js_divergence
from modeling_distilwhisper.training.teacher import FEATURES, Teacher, load_teacher
from modeling_distilwhisper.training.vocabulary import token_map

MORE = (*tiny.LANGUAGES, "uk")  # as large-v3 has Cantonese behind the languages of large-v2
ONE_STEP = {"max_steps": 1, "eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return {"gl": speech.write_folder(tmp_path_factory.mktemp("recordings") / "gl", "gl")}


@pytest.fixture(scope="module")
def batch(processor, recordings):
    return SpeechCollator(processor)(list(rows_of(recordings, ["gl"], "test")))


def prompted(batch, whisper):
    config = whisper.config
    return shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)


def with_a_language_more(whisper, processor, other):
    """The same model in a vocabulary with one more language, its token's weights from nowhere."""
    size = whisper.config.vocab_size
    mapped = token_map(processor.tokenizer, size, other.tokenizer, size + 1)
    model = tiny.make_whisper(other, seed=3)
    state = whisper.state_dict()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if len(tensor) == size + 1:
                tensor[mapped] = state[name]
            else:
                tensor.copy_(state[name])
    return model


def test_one_more_language_moves_tokens_and_not_the_predictions(whisper, processor, batch):
    other = tiny.make_processor(MORE)
    model = with_a_language_more(whisper, processor, other)
    here = torch.device("cpu")
    moved = Teacher(model, other).prepare(whisper.config, processor, here)
    plain = Teacher(whisper, processor).prepare(whisper.config, processor, here)
    assert plain.token_map is None and (moved.token_map != torch.arange(len(moved.token_map))).any()
    logits, expected = (teacher.targets(batch, prompted(batch, whisper)) for teacher in (moved, plain))
    torch.testing.assert_close(logits, expected)
    assert js_divergence(logits, expected, batch["labels"]) < 1e-6


def test_times_that_a_tokenizer_does_not_list_are_mapped_all_the_same(processor):
    """Published tokenizers end with `<|notimestamps|>` or list 1501 times behind it; the models have them anyway."""
    size = len(processor.tokenizer)
    bare = tiny.make_processor(MORE).tokenizer
    vocabulary = {token: index for token, index in bare.get_vocab().items() if not token[2:3].isdigit()}
    bare.get_vocab = lambda: vocabulary
    mapped = token_map(processor.tokenizer, size, bare, size + 1)
    assert mapped[-1501:].tolist() == list(range(size + 1 - 1501, size + 1))
    assert (mapped >= 0).all() and len(set(mapped.tolist())) == size


def test_a_language_that_only_the_student_knows_is_never_expected_and_not_taught(whisper, processor, batch):
    other = tiny.make_processor(MORE)
    student = with_a_language_more(whisper, processor, other)
    teacher = Teacher(whisper, processor).prepare(student.config, other, torch.device("cpu"))
    start, ukrainian = student.config.decoder_start_token_id, other.tokenizer.convert_tokens_to_ids("<|uk|>")
    inputs = {"input_features": batch["input_features"][:1]}
    logits = teacher.targets(inputs, torch.tensor([[start, *label_ids(other.tokenizer, "la ri", "gl")]]))
    assert (logits[..., ukrainian] == -torch.inf).all() and logits[..., :ukrainian].isfinite().all()
    with pytest.raises(ValueError, match="The teacher has no token for the student's"):
        teacher.targets(inputs, torch.tensor([[start, *label_ids(other.tokenizer, "la ri", "uk")]]))


def test_a_vocabulary_of_other_text_is_refused(processor):
    other = tiny.make_processor().tokenizer
    vocabulary = {token: index for token, index in other.get_vocab().items() if token != "q"}
    other.get_vocab = lambda: vocabulary
    size = len(processor.tokenizer)
    with pytest.raises(ValueError, match="lacks 1 of the student's .* text tokens, such as 'q'"):
        token_map(processor.tokenizer, size, other, size)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_teacher_with_more_mel_bins_hears_its_own_features(whisper_dir, processor, recordings, tmp_path, workers):
    """In the loss and by hand: the student's features would not even fit."""
    other = tiny.make_processor(MORE, mel_bins=16)
    model = tiny.make_whisper(other, seed=5, num_mel_bins=16)
    student = load(whisper_dir, ["gl"])
    trainer = make_trainer(
        student,
        processor,
        recordings,
        tmp_path,
        teacher=Teacher(model, other),
        per_device_train_batch_size=12,
        dataloader_num_workers=workers,
        **ONE_STEP,
    )
    batch = next(iter(trainer.get_train_dataloader()))
    features = SpeechCollator(other)(list(rows_of(recordings, ["gl"])))["input_features"]
    assert batch[FEATURES].shape[1] == 16
    assert {row.sum().item() for row in batch[FEATURES]} == {row.sum().item() for row in features}
    with torch.no_grad():
        ids = prompted(batch, student)
        ours = student(batch["input_features"], decoder_input_ids=ids).logits
        theirs = model(batch[FEATURES], decoder_input_ids=trainer.teacher.token_map[ids]).logits
        expected = js_divergence(ours, theirs[..., trainer.teacher.token_map], batch["labels"])
    trainer.train()
    assert trainer.state.log_history[0]["kd_loss"] == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("kind", ["plain", "LoRA", "experts"])
def test_a_teacher_of_any_kind_is_loaded_from_its_folder(whisper_dir, whisper, processor, batch, tmp_path, kind):
    if kind == "plain":
        folder, taught = whisper_dir, whisper
    elif kind == "LoRA":
        folder = tmp_path
        peft = pytest.importorskip("peft")
        lora = peft.LoraConfig(r=4, target_modules=["fc1", "fc2"], init_lora_weights=False)
        taught = peft.get_peft_model(whisper, lora).eval()
    else:
        folder = tmp_path
        taught = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"]).eval()
        tiny.unsettle(taught)
    if kind != "plain":
        taught.save_pretrained(folder)
        processor.save_pretrained(folder)
    teacher = load_teacher(str(folder)).prepare(whisper.config, processor, torch.device("cpu"))
    with torch.no_grad():
        ids = prompted(batch, whisper)
        expected = taught(input_features=batch["input_features"], decoder_input_ids=ids).logits
    torch.testing.assert_close(teacher.targets(batch, ids), expected)


@pytest.mark.parametrize("precision", ["bfloat16", "float16", "int8", "nf4"])
def test_a_teacher_in_fewer_bits_says_nearly_the_same(processor, batch, tmp_path, precision):
    # 64 wide, the size of NF4's blocks: with narrower rows bitsandbytes fails on CPUs that have AVX512-BF16.
    whisper = tiny.make_whisper(processor, d_model=64, encoder_ffn_dim=64, init_std=0.2)
    whisper.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    teacher = load_teacher(str(tmp_path), precision).prepare(whisper.config, processor, torch.device("cpu"))
    ids = prompted(batch, whisper)
    logits = teacher.targets(batch, ids)
    unquantised = (
        Teacher(whisper, processor).prepare(whisper.config, processor, torch.device("cpu")).targets(batch, ids)
    )
    assert not torch.equal(logits.float(), unquantised)
    assert js_divergence(logits, unquantised, batch["labels"]) < {"nf4": 0.15}.get(precision, 0.05)
    stored = teacher.model.model.encoder.layers[0].fc1.weight.dtype
    assert stored == {"int8": torch.int8, "nf4": torch.uint8}.get(precision, getattr(torch, precision, None))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as in a training with --bf16
        torch.testing.assert_close(teacher.targets(batch, ids), logits)


def test_an_unknown_precision_is_refused(whisper_dir):
    with pytest.raises(ValueError, match="must be one of auto, float32, .* got 'int4'"):
        load_teacher(str(whisper_dir), "int4")


def test_a_whisper_alone_must_be_the_students_like(whisper, processor):
    other = tiny.make_whisper(tiny.make_processor(MORE))
    with pytest.raises(ValueError, match="The teacher has vocab_size 1771, the student 1770"):
        Teacher(other).prepare(whisper.config, processor, torch.device("cpu"))


def test_training_with_a_teacher_leaves_it_as_it_was(whisper_dir, whisper, processor, recordings, tmp_path):
    before = tiny.state_of(whisper)
    assert isinstance(whisper, WhisperForConditionalGeneration)
    trainer = make_trainer(load(whisper_dir, ["gl"]), processor, recordings, tmp_path, teacher=whisper, **ONE_STEP)
    trainer.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in whisper.state_dict().items())
