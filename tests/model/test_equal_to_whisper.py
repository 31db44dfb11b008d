"""Where no expert is asked for, and where experts are new, the model is plain Whisper: bit for bit, in every mode."""

import pytest
import torch
from helpers import tiny
from helpers.modes import MODES, generate, generate_plainly, inputs_for

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.cache_distilwhisper import CACHE


def forward(model, processor, languages, **kwargs):
    batch = tiny.make_audio(processor, [1.0] * len(languages))
    prompt = torch.tensor([processor.tokenizer.convert_tokens_to_ids([f"<|{lang}|>"]) for lang in languages])
    text = torch.arange(5, 15).repeat(len(languages), 1)
    with torch.no_grad():
        return model(**batch, labels=torch.cat([prompt, text], dim=1), **kwargs)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_of_rows_without_an_expert_are_whispers_own(model, whisper, processor, attention):
    for each in (model, whisper):
        each.set_attn_implementation(attention)
    ours, theirs = (forward(each, processor, ["fr", "ru"]) for each in (model, whisper))
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.loss, theirs.loss)
    assert not torch.equal(
        forward(model, processor, ["gl", "ca"]).logits, forward(whisper, processor, ["gl", "ca"]).logits
    )


def test_logits_with_new_experts_are_whispers_own(fresh, whisper, processor):
    for languages in (["gl", "gl"], ["fr", "fr"]):
        assert torch.equal(
            forward(fresh, processor, languages).logits, forward(whisper, processor, languages).logits
        ), languages
    mixed = forward(fresh, processor, ["gl", "ca", "fr"]).logits
    torch.testing.assert_close(mixed, forward(whisper, processor, ["gl", "ca", "fr"]).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_in_half_precision_are_whispers_own(whisper_dir, processor, dtype):
    from transformers import WhisperForConditionalGeneration

    ours = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, languages=["gl"], dtype=dtype)
    theirs = WhisperForConditionalGeneration.from_pretrained(whisper_dir, dtype=dtype)
    batch = tiny.make_audio(processor, [1.0, 1.0])
    batch["input_features"] = batch["input_features"].to(dtype)
    for language in ("gl", "fr"):
        token = processor.tokenizer.convert_tokens_to_ids(f"<|{language}|>")
        labels = torch.tensor([[token, 5, 6, 7]] * 2)
        with torch.no_grad():
            assert torch.equal(ours(**batch, labels=labels).logits, theirs(**batch, labels=labels).logits)


@pytest.mark.parametrize("mode", MODES)
def test_transcripts_of_a_language_without_an_expert_are_whispers_own(model, whisper, processor, mode):
    audio = inputs_for(mode, processor)
    theirs = generate_plainly(whisper, processor, mode, audio, "fr")
    ours = generate(model, processor, mode, audio, "fr")
    assert_same(ours, theirs)


@pytest.mark.parametrize("mode", MODES)
def test_transcripts_with_new_experts_are_whispers_own(fresh, whisper, processor, mode):
    audio = inputs_for(mode, processor)
    theirs = generate_plainly(whisper, processor, mode, audio, "gl")
    ours = generate(fresh, processor, mode, audio, "gl")
    assert_same(ours, theirs)


@pytest.mark.parametrize("mode", ["greedy", "long-form"])
def test_a_trained_expert_changes_the_transcripts_of_its_language(model, whisper, processor, mode):
    audio = inputs_for(mode, processor)
    ours, theirs = (generate(each, processor, mode, audio, "gl") for each in (model, whisper))
    assert ours["sequences"].shape != theirs["sequences"].shape or (ours["sequences"] != theirs["sequences"]).any()


def test_language_detection_is_whispers_own(model, whisper, processor):
    audio = tiny.make_audio(processor, [1.0, 2.0, 0.5])
    assert torch.equal(model.detect_language(audio["input_features"]), whisper.detect_language(audio["input_features"]))


def test_translation_takes_the_shared_path_in_the_decoder_alone(model, processor):
    tokens = processor.tokenizer.convert_tokens_to_ids
    batch = tiny.make_audio(processor, [1.0])
    prompts = {
        task: torch.tensor([[tokens("<|startoftranscript|>"), tokens("<|gl|>"), tokens(f"<|{task}|>"), 5, 6]])
        for task in ("transcribe", "translate")
    }
    with torch.no_grad():
        transcribed, translated = (
            model(**batch, decoder_input_ids=prompts[task], output_gates=True) for task in ("transcribe", "translate")
        )
    assert torch.equal(transcribed.encoder_last_hidden_state, translated.encoder_last_hidden_state)
    assert len(transcribed.decoder_gates) == 2 and translated.decoder_gates == ()
    assert translated.language_ids.tolist() == [tokens("<|gl|>")] and translated.decoder_language_ids.tolist() == [-1]
    with torch.no_grad():
        by_hand = model(
            **batch,
            decoder_input_ids=prompts["translate"],
            language_ids=torch.tensor([tokens("<|gl|>")]),
            decoder_language_ids=torch.tensor([-1]),
        )
    assert torch.equal(by_hand.logits, translated.logits)


def test_generated_translations_take_the_shared_path_in_the_decoder(model, processor):
    """By hand: the encoder with its experts, then a plain greedy loop through a decoder without."""
    tokens = processor.tokenizer.convert_tokens_to_ids
    audio = tiny.make_audio(processor, [1.0])
    generated = model.generate(**audio, language="gl", task="translate", max_new_tokens=8)[0].tolist()
    prompt = [tokens(f"<|{name}|>") for name in ("startoftranscript", "gl", "translate", "notimestamps")]
    ids, gl, shared = list(prompt), torch.tensor([tokens("<|gl|>")]), torch.tensor([-1])
    assert [each.item() for each in model.read_prompt(torch.tensor([prompt]))] == [gl.item(), -1]
    loops = {}
    for name, decoder in (("shared", shared), ("experts", gl)):
        ids = list(prompt)
        while len(ids) < len(prompt) + 8:
            with torch.no_grad():
                logits = model(
                    **audio, decoder_input_ids=torch.tensor([ids]), language_ids=gl, decoder_language_ids=decoder
                ).logits[0, -1]
            logits[model.generation_config.suppress_tokens] = -torch.inf
            if len(ids) == len(prompt):
                logits[model.generation_config.begin_suppress_tokens] = -torch.inf
            ids.append(int(logits.argmax()))
        loops[name] = ids[len(prompt) :]
    assert generated == loops["shared"][: len(generated)]
    assert loops["experts"] != loops["shared"]


def test_explicit_ids_translate_on_the_shared_path_too(model, processor):
    tokens = processor.tokenizer.convert_tokens_to_ids
    prompt = torch.tensor([[tokens("<|startoftranscript|>"), tokens("<|gl|>"), tokens("<|translate|>"), 5]])
    with torch.no_grad():
        outputs = model(
            **tiny.make_audio(processor, [1.0]),
            decoder_input_ids=prompt,
            language_ids=torch.tensor([tokens("<|ca|>")]),
            output_gates=True,
        )
    assert outputs.language_ids.tolist() == [tokens("<|ca|>")]
    assert outputs.decoder_language_ids.tolist() == [-1]


def test_a_cache_without_its_languages_is_refused_not_decoded_without_experts(model, processor):
    tokens = processor.tokenizer.convert_tokens_to_ids
    batch = tiny.make_audio(processor, [1.0])
    prompt = torch.tensor([[tokens("<|startoftranscript|>"), tokens("<|gl|>"), tokens("<|transcribe|>"), 5, 6]])
    with torch.no_grad():
        at_once = model(**batch, decoder_input_ids=prompt).logits[:, -1]
        first = model(**batch, decoder_input_ids=prompt[:, :-1], use_cache=True)
        rest = {
            "encoder_outputs": (first.encoder_last_hidden_state,),
            "decoder_input_ids": prompt[:, -1:],
            CACHE: first["past_key_values"],
        }
        with pytest.raises(ValueError, match="The prompt, which names language and task, is only in the cache"):
            model(**rest)
        language_ids, decoder_language_ids = model.read_prompt(prompt)
        with pytest.raises(ValueError, match="is only in the cache"):
            model(**rest, language_ids=language_ids)
        last = model(**rest, language_ids=language_ids, decoder_language_ids=decoder_language_ids).logits[:, -1]
    torch.testing.assert_close(last, at_once, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("languages", [["gl", "ca"], ["fr", "fr"]], ids=["experts", "none"])
@pytest.mark.filterwarnings("error::FutureWarning")
def test_the_cache_is_passed_by_the_name_that_this_version_of_transformers_has_for_it(model, processor, languages):
    """5.24 takes the older name too, with a warning at each layer of each step."""
    batch = tiny.make_audio(processor, [1.0, 1.5])
    seen = []

    def keep(module, given, named) -> None:
        seen.append(named)

    model.model.decoder.layers[0].encoder_attn.register_forward_pre_hook(keep, with_kwargs=True)
    model.generate(**batch, language=languages, max_new_tokens=3)
    assert seen
    assert all(named[CACHE] is not None for named in seen)
    assert all({"cache", "past_key_values"} & {*named} == {CACHE} for named in seen)


def test_ids_that_are_not_one_a_row_are_refused(model, processor):
    batch = tiny.make_audio(processor, [1.0, 1.0, 1.0])
    labels = torch.full((3, 4), 5)
    with pytest.raises(ValueError, match=r"of shape \(3,\), got \(1,\)"):
        model(**batch, labels=labels, language_ids=torch.tensor([260]))
    with pytest.raises(ValueError, match="Pass `language`, a code or a list"):
        model.generate(batch["input_features"], language_ids=torch.tensor([260] * 3), language="gl")


def test_tuples_are_returned_on_request(model, whisper, processor):
    ours, theirs = (forward(each, processor, ["fr"], return_dict=False, use_cache=False) for each in (model, whisper))
    assert isinstance(ours, tuple)
    assert torch.equal(ours[1], theirs[1])


def test_layers_stay_whole_on_a_device_map(model, whisper):
    from accelerate import infer_auto_device_map

    for each in (model, whisper):
        budget = {"cpu": 10**9}
        assert infer_auto_device_map(each, budget, no_split_module_classes=each._no_split_modules) == {"": "cpu"}
    names = {type(module).__name__ for module in model.modules()}
    assert {"DistilWhisperEncoderLayer", "DistilWhisperDecoderLayer"} <= set(model._no_split_modules) & names


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name], value), name
