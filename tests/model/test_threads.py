"""Calls in several threads do not disturb one another: each gives what it gives alone."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers import tiny

from modeling_distilwhisper.evaluation.gates import forced_gates

SETTINGS = {"task": "transcribe", "max_new_tokens": 8}


@pytest.fixture
def audio(processor):
    return tiny.make_audio(processor, [1.0, 1.6])


def transcribe(model, audio, language="gl", **settings):
    return model.generate(**audio, language=language, **SETTINGS, **settings)


def logits(model, audio, language="gl"):
    token = model.generation_config.lang_to_id[f"<|{language}|>"]
    prompt = torch.tensor([[model.config.decoder_start_token_id, token, 5, 6]] * 2)
    with torch.no_grad():
        return model(**audio, decoder_input_ids=prompt).logits


def in_a_thread(function, *arguments, **settings):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **settings).result()


def test_gates_forced_in_two_threads_at_once_come_back(model, audio):
    """The second thread enters while the first is inside, and leaves last."""
    before, entered, left = logits(model, audio), threading.Event(), threading.Event()

    def second():
        with forced_gates(model, is_open=False):
            entered.set()
            assert left.wait(10)

    with ThreadPoolExecutor(1) as pool:
        with forced_gates(model, is_open=False):
            running = pool.submit(second)
            assert entered.wait(10)
        left.set()
        running.result()
    assert torch.equal(logits(model, audio), before)


def test_gates_forced_in_one_thread_stay_as_trained_in_another(model, audio, whisper):
    before, plain = logits(model, audio), logits(whisper, audio)
    with forced_gates(model, is_open=False):
        assert torch.equal(logits(model, audio), plain)
        assert torch.equal(in_a_thread(logits, model, audio), before)
        with forced_gates(model, is_open=True):
            opened = logits(model, audio)
        assert torch.equal(logits(model, audio), plain), "the inner one has ended"
    assert not torch.equal(opened, before) and not torch.equal(opened, plain)


def test_gates_forced_on_one_model_stay_as_trained_in_a_copy(model, audio):
    other = copy.deepcopy(model)
    before = logits(other, audio)
    with forced_gates(model, is_open=False):
        assert torch.equal(logits(other, audio), before)


def test_a_backward_pass_after_the_block_recomputes_the_gates_of_the_forward_pass(model, audio):
    """Gradient checkpointing runs each layer again in the backward pass."""
    labels = torch.tensor([[model.generation_config.lang_to_id["<|gl|>"], 5, 6, 7]] * 2)
    model.config.skip_gate_prob = 0.0
    model.train()
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.zero_grad()
        with forced_gates(model, is_open=True):
            loss = model(**audio, labels=labels, use_cache=False).loss
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.slow
def test_a_compiled_model_obeys_forced_gates_and_forgets_them(model, audio):
    prompt = torch.tensor([[model.config.decoder_start_token_id, model.config.language_token_ids["gl"], 5, 6]] * 2)
    compiled = torch.compile(model, backend="eager")
    run = lambda one: one(**audio, decoder_input_ids=prompt, use_cache=False).logits  # noqa: E731
    with torch.no_grad():
        before, compiled_before = run(model), run(compiled)
        with forced_gates(model, is_open=False):
            torch.testing.assert_close(run(compiled), run(model))
            assert not torch.allclose(run(compiled), before, atol=1e-3)
        assert torch.equal(run(compiled), compiled_before)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
@pytest.mark.parametrize("call", [logits, transcribe])
def test_a_language_removed_in_the_middle_of_a_call_is_used_to_its_end(model, audio, call, side):
    expected, removed = call(model, audio), []

    def remove(*_):
        if not removed:
            removed.append(in_a_thread(model.remove_language, "gl"))

    hook = getattr(model.model, side).layers[0].register_forward_hook(remove)
    assert torch.equal(call(model, audio), expected)
    hook.remove()
    assert removed and model.config.languages == ["ca"]
    assert not torch.equal(call(model, audio), expected), "the next call is plain Whisper"


def test_a_language_removed_between_two_windows_is_used_to_the_end_of_the_recording(model, processor):
    audio = tiny.make_audio(processor, [5.0, 3.1])  # a window has 2 s
    expected, windows = transcribe(model, audio, return_timestamps=True), []

    def remove(*_):
        windows.append(len(windows))
        if len(windows) == 2:
            in_a_thread(model.remove_language, "gl")

    hook = model.model.encoder.register_forward_pre_hook(remove)
    assert torch.equal(transcribe(model, audio, return_timestamps=True), expected)
    hook.remove()
    assert len(windows) > 2 and model.config.languages == ["ca"]


def test_a_language_added_in_the_middle_of_a_call_changes_nothing(model, audio):
    expected = transcribe(model, audio, language=["gl", "ru"])

    def add(*_):
        if "ru" not in model.config.languages:
            in_a_thread(add_unsettled, model, "ru")

    hook = model.model.decoder.layers[0].register_forward_hook(add)
    assert torch.equal(transcribe(model, audio, language=["gl", "ru"]), expected)
    hook.remove()
    assert not torch.equal(logits(model, audio, "ru"), in_a_thread(without, model, audio, "ru"))


def add_unsettled(model, language):
    model.add_language(language)
    tiny.unsettle_language(model, language)


def without(model, audio, language):
    with forced_gates(model, is_open=False):
        return logits(model, audio, language)


def test_threads_that_transcribe_while_languages_come_and_go_say_what_they_say_alone(model, audio):
    """New experts copy the shared path, so Russian stays as it was, whether it has experts or not."""
    languages = ["gl", "ca", "ru"]
    expected = {language: transcribe(model, audio, language) for language in languages}
    done = threading.Event()

    def come_and_go():
        changes = 0
        while not done.is_set():
            model.add_language("ru")
            model.remove_language("ru")
            changes += 1
        return changes

    with ThreadPoolExecutor(4) as pool:
        changing = pool.submit(come_and_go)
        calls = [(language, pool.submit(transcribe, model, audio, language)) for language in languages * 4]
        forced = [pool.submit(without, model, audio, "gl") for _ in range(3)]
        try:
            for language, call in calls:
                assert torch.equal(call.result(), expected[language]), language
            assert torch.equal(forced[0].result(), forced[-1].result())
        finally:
            done.set()
        assert changing.result() > 1
    assert model.config.languages == ["gl", "ca"]


def test_languages_added_by_two_threads_at_once_are_both_there(model):
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(model.add_language, ["ru", "fr"]))
        assert sorted(model.config.languages) == ["ca", "fr", "gl", "ru"]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(model.remove_language, ["ru", "fr"]))
        assert model.config.languages == ["gl", "ca"]
