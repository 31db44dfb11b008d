"""A batch of several languages gives each row what it gets alone."""

import pytest
import torch
from helpers import tiny
from helpers.modes import MODES, alone, generate, inputs_for, strip
from transformers import GenerationMixin

LANGUAGES = ["gl", "fr", "ca"]  # two with an expert, and one between them without


@pytest.mark.parametrize("mode", [mode for mode in MODES if not mode.startswith("assisted")])
def test_each_row_is_transcribed_as_alone(model, processor, mode):
    audio = inputs_for(mode, processor)
    together = generate(model, processor, mode, audio, LANGUAGES)
    for index, single in enumerate(alone(model, processor, mode, audio, LANGUAGES)):
        for name, values in single.items():
            for number, value in enumerate(values):  # a row may return several
                row = together[name][index * len(values) + number]
                if name == "sequences":
                    padding = processor.tokenizer.pad_token_id
                    assert strip(row.tolist(), padding) == strip(value.tolist(), padding), (name, index)
                else:
                    length = min(len(row), len(value))
                    torch.testing.assert_close(row[:length], value[:length])


@pytest.mark.parametrize("mode", ["greedy", "long-form"])
def test_the_languages_of_a_batch_matter(model, processor, mode):
    """Guards the test above: were experts never used, it would pass."""
    audio = inputs_for(mode, processor)
    results = [generate(model, processor, mode, audio, language)["sequences"] for language in LANGUAGES]
    for index in range(len(LANGUAGES)):
        rows = {tuple(strip(result[index].tolist(), processor.tokenizer.pad_token_id)) for result in results}
        assert len(rows) == len(LANGUAGES), index


CALLS = {
    "greedy": lambda sizes: sizes == [3],
    "fallback": lambda sizes: sizes == [3, 3, 3],
    "long-form": lambda sizes: len(sizes) > 2 and min(sizes) < 3,
    "previous tokens": lambda sizes: len(sizes) > 2 and min(sizes) < 3,
}


@pytest.mark.parametrize("mode", CALLS)
def test_the_modes_decode_what_their_names_say(model, processor, mode, monkeypatch):
    """Guards the tests above: long audio in one window, or a fallback that never came, would test nothing."""
    sizes, prompts = [], []
    original = GenerationMixin.generate

    def watch(self, inputs, *args, decoder_input_ids, **kwargs):
        sizes.append(len(decoder_input_ids))
        prompts.append(decoder_input_ids.shape[1])
        return original(self, inputs, *args, decoder_input_ids=decoder_input_ids, **kwargs)

    monkeypatch.setattr(GenerationMixin, "generate", watch)
    generate(model, processor, mode, inputs_for(mode, processor), LANGUAGES)
    assert CALLS[mode](sizes), sizes
    assert (max(prompts) > 10) == (mode == "previous tokens"), prompts


def test_logits_and_gates_of_each_row_are_those_it_has_alone(model, processor):
    batch = tiny.make_audio(processor, [1.0, 2.0, 0.5])
    tokens = processor.tokenizer.convert_tokens_to_ids([f"<|{language}|>" for language in LANGUAGES])
    labels = torch.cat([torch.tensor(tokens)[:, None], torch.randint(0, 200, (3, 9))], dim=1)
    with torch.no_grad():
        together = model(**batch, labels=labels, output_gates=True)
        for index in range(3):
            single = model(**tiny.row(batch, index), labels=labels[index : index + 1], output_gates=True)
            torch.testing.assert_close(single.logits[0], together.logits[index], atol=1e-4, rtol=1e-4)
            for side in ("encoder_gates", "decoder_gates"):
                for layer, gates in enumerate(getattr(single, side)):
                    assert torch.equal(gates[0], getattr(together, side)[layer][index])
    assert not together.encoder_gates[0][1].any(), "a row without an expert has no open gate"
    assert 0.05 < together.encoder_gates[0][0].mean() < 0.95


def test_loading_one_language_leaves_the_others_as_they_were(model, processor):
    audio = inputs_for("greedy", processor)
    before = generate(model, processor, "greedy", audio, ["gl", "fr", "gl"])["sequences"]
    model.add_language("ru")
    tiny.unsettle_language(model, "ru")
    assert torch.equal(generate(model, processor, "greedy", audio, ["gl", "fr", "gl"])["sequences"], before)
    model.remove_language("ca")
    assert torch.equal(generate(model, processor, "greedy", audio, ["gl", "fr", "gl"])["sequences"], before)


def test_the_language_is_read_behind_the_start_token_alone(model, processor):
    ids = processor.tokenizer.convert_tokens_to_ids
    start, gl, ca, fr, prev = (ids(f"<|{name}|>") for name in ("startoftranscript", "gl", "ca", "fr", "startofprev"))
    prompts = torch.tensor(
        [
            [start, gl, 5, ca, 6],  # a language token among the text
            [prev, 7, start, ca, 5],  # earlier words in front
            [start, fr, 5, gl, 6],  # a language without an expert
            [5, gl, 6, 7, start],
        ]
    )
    language_ids, decoder_language_ids = model.read_prompt(prompts)
    assert language_ids.tolist() == decoder_language_ids.tolist() == [gl, ca, -1, -1]
