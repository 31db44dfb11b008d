"""A text that repeats itself ends early and is tried at other temperatures; no other text is touched."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_distilwhisper import load_model, load_processor
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.evaluation.metrics import has_loop
from modeling_distilwhisper.transcription import window_batch
from modeling_distilwhisper.transcription.loops import EVERY, EndOfLoops
from modeling_distilwhisper.transcription.window_batch import transcribe_windows, window_features

QUICKSTART = Path(__file__).parents[2] / "examples/quickstart"
LANGUAGES = ["ca", "uk", "en", "uk", "fr", "hu"]


@pytest.fixture(scope="module")
def student():
    return load_model(str(QUICKSTART / "student"), "float32", "cpu"), load_processor(str(QUICKSTART / "student"))


@pytest.fixture(scope="module")
def features(student):
    """A clip of speech, and noise, for which the student writes loops."""
    noise = np.random.default_rng(0).standard_normal((5, 48_000)).astype(np.float32) / 10
    return window_features(student[1], [read_audio(QUICKSTART / "in_domain/ca/test/000.ogg"), *noise])


def full_texts(student, features) -> list[str]:
    model, processor = student
    tokens = model.generate(**features, language=LANGUAGES, return_timestamps=False)
    return processor.batch_decode(tokens, skip_special_tokens=True)


def test_only_loops_end_early_and_what_is_left_of_them_is_a_loop(student, features):
    model, processor = student
    complete = full_texts(student, features)
    ends = [EndOfLoops(processor.tokenizer)]
    tokens = model.generate(**features, language=LANGUAGES, return_timestamps=False, stopping_criteria=ends)
    texts = processor.batch_decode(tokens, skip_special_tokens=True)
    loops = [has_loop(text) for text in complete]
    assert any(loops) and not all(loops)
    for text, whole, loop in zip(texts, complete, loops, strict=True):
        assert has_loop(text) == loop and whole.startswith(text)
        assert loop or text == whole
    assert any(len(text) < len(whole) for text, whole in zip(texts, complete, strict=True)), "it saved something"


@pytest.mark.parametrize("text", [" a a a a ", " na na na na na", " 12 12 12 12 12 12 ", " un dous tres un dous tres "])
def test_what_may_still_become_honest_is_not_ended(student, text):
    """`na na na na nai` is no loop, and counting is none."""
    tokenizer = student[1].tokenizer
    tokens = tokenizer(text, add_special_tokens=False).input_ids
    padded = torch.tensor([tokens + [tokenizer.eos_token_id] * (-len(tokens) % EVERY)])
    assert padded.shape[1] % EVERY == 0
    assert EndOfLoops(tokenizer)(padded, None).tolist() == [False]


def test_a_prompt_that_repeats_itself_ends_no_text(student):
    tokenizer = student[1].tokenizer
    prompt = student[1].get_prompt_ids(" na na na na na na na na").tolist()
    prompt += tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|ca|>", "<|transcribe|>", "<|notimestamps|>"])
    honest, loop = list(range(300, 300 + EVERY)), tokenizer(" na", add_special_tokens=False).input_ids
    rows = torch.tensor([prompt + honest, prompt + (loop * EVERY)[:EVERY]])
    ends = EndOfLoops(tokenizer)
    for length in range(len(prompt) + 1, len(prompt) + EVERY):
        assert not ends(rows[:, :length], None).any()
    assert ends(rows, None).tolist() == [False, True]


def test_where_transformers_tries_temperatures_itself_no_text_is_ended(student, features, monkeypatch):
    """It decides by the complete text: of an ended one the compression ratio is low, and it was dropped."""
    given = []

    def generate(**settings):
        given.append(settings)
        raise RuntimeError

    monkeypatch.setattr(student[0], "generate", generate)
    for temperature in ((0.0, 0.4), 0.4):
        with pytest.raises(RuntimeError):
            transcribe_windows(*student, features, LANGUAGES, temperature=temperature)
    assert "stopping_criteria" not in given[0] and "stopping_criteria" in given[1]


def test_a_loop_is_tried_at_the_next_temperature_until_there_is_none(student, features, monkeypatch):
    asked = []
    generate = window_batch._generate

    def noted(model, processor, rows, languages, settings, logprobs):
        asked.append((len(languages), settings.get("temperature")))
        return generate(model, processor, rows, languages, settings, logprobs)

    monkeypatch.setattr(window_batch, "_generate", noted)
    contents = transcribe_windows(*student, features, LANGUAGES)
    complete = full_texts(student, features)
    loops = [has_loop(text) for text in complete]
    for content, whole, loop in zip(contents, complete, loops, strict=True):
        assert loop or content.text == whole.strip()
    assert asked[0] == (6, None) and {rows for rows, _ in asked[1:]} == {1}
    temperatures = [temperature for _, temperature in asked[1:]]
    assert temperatures.count(0.2) == sum(loops), "each begins at the lowest"
    for before, after in itertools.pairwise(temperatures):
        assert after == 0.2 or after == pytest.approx(before + 0.2)
    again = transcribe_windows(*student, features, LANGUAGES)
    assert [content.text for content in again] == [content.text for content in contents], "the same each time"
