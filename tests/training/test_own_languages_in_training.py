"""Training languages that Whisper has no token for: their teacher's prompts, their losses, and all that stays."""

import pytest
import torch
from helpers import speech, tiny
from helpers.training import make_trainer
from transformers import TrainerCallback, WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.training.cache_files import tokenizer_digest, tokenizer_digests
from modeling_distilwhisper.training.teacher import Teacher


@pytest.fixture
def spoken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return {name: speech.write_folder(folder / name, name, seed=i) for i, name in enumerate(("ga", "gl-AO", "gl"))}


@pytest.fixture
def taught(whisper_dir):
    """A model with a new name that has a relative, one without any, and a language of Whisper's."""
    torch.manual_seed(0)
    starts = {"ga": {"fr": 1.0, "ru": 0.5}}
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "gl", "kab"], init_from=starts)
    processor = WhisperProcessor.from_pretrained(whisper_dir)
    add_own_tokens(processor.tokenizer, model)
    return model, processor


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.step


def batch_of(processor, languages):
    audio = [tiny.make_audio(processor, [1.0 + index / 4])["input_features"] for index in range(len(languages))]
    labels = SpeechCollator(processor)(
        [{"audio": speech.tone(400), "text": "la ri", "language": language} for language in languages]
    )["labels"]
    return {"input_features": torch.cat(audio), "labels": labels}


def prompted(model, labels):
    return shift_tokens_right(labels, model.config.pad_token_id, model.config.decoder_start_token_id)


def test_a_teacher_is_asked_for_the_relative_and_each_row_gets_its_own(taught, whisper_dir):
    """A new token means nothing to a teacher: its embedding would be read beyond the table, or be another token's."""
    model, processor = taught
    whisper = WhisperForConditionalGeneration.from_pretrained(whisper_dir)
    teacher = Teacher(whisper, processor).prepare(model.config, processor, "cpu")
    batch = batch_of(processor, ["gl", "ga", "kab"])
    logits = teacher.targets(batch, prompted(model, batch["labels"]))
    tokens = model.generation_config.lang_to_id
    detected = whisper.detect_language(batch["input_features"])
    for row, token in enumerate([tokens["<|gl|>"], tokens["<|fr|>"], int(detected[2])]):
        ids = prompted(model, batch["labels"])[row : row + 1].clone()
        ids[0, 1] = token
        with torch.no_grad():
            expected = whisper(batch["input_features"][row : row + 1], decoder_input_ids=ids).logits
        assert torch.allclose(logits[row : row + 1], expected, atol=1e-5), row


def test_a_teacher_that_has_experts_of_the_name_is_asked_for_it(taught):
    model, processor = taught
    teacher = DistilWhisperForConditionalGeneration.from_whisper(model.config.base_model_name_or_path, ["kab", "ga"])
    tiny.unsettle(teacher)
    prepared = Teacher(teacher, processor).prepare(model.config, processor, "cpu")
    ours, theirs = model.language_tokens(), teacher.language_tokens()
    assert ours["ga"] != theirs["ga"], "else this would test nothing"
    assert prepared.own_tokens == {ours[name]: theirs[name] for name in ("ga", "kab")}


def test_the_label_of_a_new_token_is_no_target_of_any_loss(taught, whisper_dir):
    model, processor = taught
    batch = batch_of(processor, ["ga", "gl"])
    targets = model.without_own_tokens(batch["labels"])
    assert targets[0, 0] == -100 and targets[1].tolist() == batch["labels"][1].tolist()
    assert targets[0, 1:].tolist() == batch["labels"][0, 1:].tolist()


@pytest.mark.parametrize("with_teacher", [False, True])
def test_new_and_old_names_train_together_and_the_rest_stays_bit_for_bit(
    taught, spoken, whisper_dir, tmp_path, with_teacher
):
    model, processor = taught
    before = tiny.state_of(model)
    teacher = WhisperForConditionalGeneration.from_pretrained(whisper_dir) if with_teacher else None
    trainer = make_trainer(
        model, processor, spoken, tmp_path, ["ga", "gl"], teacher and Teacher(teacher, processor), num_train_epochs=1
    )
    assert trainer.trained_languages == ["ga", "gl"]
    losses = trainer.train().training_loss
    assert 0 < losses < 100
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert "model.decoder.experts.ga.embedding" in moved and any(".experts.gl." in name for name in moved)
    assert all(".experts.ga." in name or ".experts.gl." in name for name in moved)
    scores = trainer.evaluate()
    assert {"eval_wer_ga", "eval_wer_gl"} <= scores.keys()


def test_a_training_of_a_new_name_that_is_stopped_ends_where_an_unbroken_one_ends(spoken, whisper_dir, tmp_path):
    def start(folder, **settings):
        torch.manual_seed(0)
        model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga"], init_from={"ga": "fr"})
        processor = WhisperProcessor.from_pretrained(whisper_dir)
        add_own_tokens(processor.tokenizer, model)
        settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "no"} | settings
        settings |= {"load_best_model_at_end": False}
        return make_trainer(model, processor, spoken, tmp_path / folder, ["ga"], **settings)

    unbroken = start("unbroken", max_steps=4)
    unbroken.train()
    stopped = start("stopped", max_steps=4)
    stopped.add_callback(StopAt(2))
    stopped.train()
    resumed = start("stopped", max_steps=4)
    resumed.train(resume_from_checkpoint=True)
    for name, tensor in unbroken.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_a_cache_of_predictions_fits_a_tokenizer_that_got_new_names_later(taught, whisper_dir):
    _, processor = taught
    plain = WhisperProcessor.from_pretrained(whisper_dir)
    assert tokenizer_digest(plain) in tokenizer_digests(processor, len(plain.tokenizer))
    plain.tokenizer.add_tokens(["other"])
    assert tokenizer_digest(plain) not in tokenizer_digests(processor, len(processor.tokenizer))


def test_a_dialect_trains_beside_its_language_and_is_scored_by_its_own_name(spoken, whisper_dir, tmp_path):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "gl-AO"])
    processor = WhisperProcessor.from_pretrained(whisper_dir)
    add_own_tokens(processor.tokenizer, model)
    rows = {name: spoken[name] for name in ("gl", "gl-AO")}
    before = tiny.state_of(model)
    trainer = make_trainer(model, processor, rows, tmp_path, ["gl-AO"], num_train_epochs=1)
    trainer.train()
    scores = trainer.evaluate()
    assert "eval_wer_gl-AO" in scores and scores["eval_loss_gl-AO"] == scores["eval_loss"]
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved and all(".experts.gl-AO." in name for name in moved)
