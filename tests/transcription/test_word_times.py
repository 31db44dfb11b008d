"""A word begins where the attention was when the model chose it."""

from contextlib import contextmanager

import pytest
import torch
from helpers import tiny
from transformers.cache_utils import DynamicLayer

from modeling_distilwhisper.cache_distilwhisper import CACHE
from modeling_distilwhisper.transcription import word_times
from modeling_distilwhisper.transcription.heard import Heard, heard_by

FRAMES = 100  # of the encoder: 20 ms each


def test_a_word_has_the_time_of_the_attention_that_chose_its_first_token(model, processor, monkeypatch):
    """The attention at a token chooses the next one: taken for its own, every word would come one token late."""
    model.generation_config.alignment_heads = [[0, 0]]
    text = processor.tokenizer(" la ri mo", add_special_tokens=False).input_ids
    prompt = 4
    weights = torch.zeros(1, 1, prompt + len(text), FRAMES)
    for position in range(prompt - 1, prompt + len(text)):  # one after the other, each for as long
        begin = 5 * (position - prompt + 1)
        weights[0, 0, position, begin : begin + 5] = 1

    @contextmanager
    def crafted(model, layers):
        yield {0: weights}

    monkeypatch.setattr(word_times, "_cross_attention", crafted)
    heard = Heard(torch.zeros(1, FRAMES, model.config.d_model))
    (reading,) = word_times.read_back(model, processor, heard, [2 * FRAMES], [text], ["gl"], "transcribe")
    words = reading.words
    assert [word.word for word in words] == ["la", "ri", "mo"]
    tokens = [len(processor.tokenizer(f" {word.word}", add_special_tokens=False).input_ids) for word in words]
    begins = [0.1 * sum(tokens[:number]) for number in range(len(words) + 1)]
    assert [word.start for word in words] == pytest.approx(begins[:-1], abs=0.021)
    assert words[-1].end == pytest.approx(begins[-1], abs=0.021)


def test_the_probabilities_of_a_text_are_those_of_the_models_logits(model, processor):
    """One token off, every text would look improbable."""
    model.generation_config.alignment_heads = [[0, 0]]
    batch = tiny.make_audio(processor, [1.0, 1.5])
    tokenizer = processor.tokenizer
    texts = [tokenizer(text, add_special_tokens=False).input_ids for text in (" la ri mo", " bo")]
    prompts = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|gl|>", "<|transcribe|>", "<|notimestamps|>"])
    with torch.inference_mode():
        heard = Heard(model.get_encoder()(**batch, language_ids=torch.tensor([prompts[1]] * 2))[0])
        readings = word_times.read_back(
            model, processor, heard, [100, 150], texts, ["gl", "gl"], "transcribe", logprobs=True
        )
        for row, (text, reading) in enumerate(zip(texts, readings, strict=True)):
            ids = torch.tensor([[*prompts, *text]])
            one = {name: values[row : row + 1] for name, values in batch.items()}
            logits = model(**one, decoder_input_ids=ids).logits[0].log_softmax(-1)
            expected = [logits[3 + place, token].item() for place, token in enumerate([*text, tokenizer.eos_token_id])]
            assert reading.avg_logprob == pytest.approx(sum(expected) / len(expected), abs=1e-4)


@pytest.mark.parametrize("beams", [1, 2])
def test_what_generate_has_computed_is_taken_from_it_and_changes_no_time(model, processor, beams):
    """With beams, a row of the decoder's cache is no window: the keys of another one would be attended to."""
    model.generation_config.alignment_heads = [[0, 0], [1, 1]]
    batch = tiny.make_audio(processor, [1.0, 1.5, 1.9])
    languages = ["gl", "ca", "fr"]
    with torch.inference_mode():
        with heard_by(model) as heard:
            ids = model.generate(**batch, language=languages, max_new_tokens=12, num_beams=beams)
        assert all((CACHE in heard.window(row)) == (beams == 1) for row in range(3))
        for row in range(3 if beams == 1 else 0):
            taken_keys = heard.window(row)[CACHE].cross_attention_cache.layers
            for layer, known in zip(model.get_decoder().layers, taken_keys, strict=True):
                keys = layer.encoder_attn.k_proj(heard.states)
                own = known.keys[0].transpose(0, 1).flatten(1)
                distances = [(own - other).abs().max().item() for other in keys]
                assert distances[row] < 1e-5 and sorted(distances)[1] > 1e-3, "those of its own window"
        texts = [[token for token in row if token < processor.tokenizer.eos_token_id] for row in ids.tolist()]
        settings = ([100, 150, 190], texts, languages, "transcribe")
        taken = word_times.read_back(model, processor, heard, *settings, logprobs=True)
        heard.cache = None
        again = word_times.read_back(model, processor, heard, *settings, logprobs=True)
    for one, other in zip(taken, again, strict=True):
        assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-5)
        assert [(word.word, word.start) for word in one.words] == [(word.word, word.start) for word in other.words]
    assert all(reading.words for reading in taken)


def test_an_encoder_with_more_layers_than_its_decoder_takes_nothing_from_layers_that_are_not_there(processor):
    """As large-v3-turbo and distil-whisper."""
    model = tiny.make_whisper(processor, encoder_layers=4, decoder_layers=2).eval()
    batch = tiny.make_audio(processor, [1.0, 1.5])
    with torch.inference_mode(), heard_by(model) as heard:
        model.generate(**batch, language=["gl", "ca"], max_new_tokens=4)
    heard.cache.cross_attention_cache.layers.append(DynamicLayer())
    known = heard.window(1)[CACHE].cross_attention_cache.layers
    assert [tuple(layer.keys.shape[:1]) for layer in known] == [(1,), (1,)]


def test_windows_that_are_decoded_again_alone_leave_the_others_their_sound(model, processor):
    """Transformers encodes them once more: their rows would stand for those of the whole batch."""
    batch = tiny.make_audio(processor, [1.0, 1.5, 1.9])
    with torch.inference_mode(), heard_by(model) as heard:
        model.generate(**batch, language=["gl", "ca", "fr"], max_new_tokens=4)
        states = heard.states
        again = {name: values[1:2] for name, values in batch.items()}
        model.generate(**again, language=["ca"], max_new_tokens=4)
    assert torch.equal(heard.states, states) and len(states) == 3
    assert all(CACHE not in heard.window(row) for row in range(3))
