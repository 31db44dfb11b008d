"""Windows of any languages in one batch say what they say alone, and experts come and go without a trace."""

import shutil

import pytest
from helpers.serving import make_engine, transcript_alone
from helpers.speech import clip

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_processor
from modeling_distilwhisper.serving.engine import Engine
from modeling_distilwhisper.serving.items import DETECT, Item, Settings
from modeling_distilwhisper.transcription.window_batch import transcribe_windows, window_features

MIXED = [("gl", 300), ("ca", 500), ("ru", 800), ("fr", 1200), ("en", 400), ("gl", 700), ("ca", 650), ("ru", 350)]
PLAIN = Settings()


def items(settings=PLAIN, mixed=MIXED):
    return [Item(clip(1.0 + 0.1 * number, pitch), code, settings) for number, (code, pitch) in enumerate(mixed)]


def texts(outcomes):
    assert not [outcome.detail for outcome in outcomes if outcome.error]
    return [(outcome.language, outcome.text) for outcome in outcomes]


def alone(places, batch, **settings):
    """What `generate` gives for each window alone, with all experts loaded."""
    model, more = places
    loaded = DistilWhisperForConditionalGeneration.from_pretrained(model).eval()
    for language in ("ru", "fr"):
        loaded.load_experts(more, language)
    processor = load_processor(str(model))
    found = []
    for item in batch:
        features = window_features(processor, [item.samples])
        (text,) = transcribe_windows(loaded, processor, features, [item.language], **settings)
        found.append((item.language, text))
    return found


def test_windows_of_five_languages_share_a_batch_and_say_what_they_say_alone(places, engine):
    batch = items()
    outcomes = engine.run(batch)
    assert texts(outcomes) == alone(places, batch)
    assert outcomes[0].batches == (8,) and not any(outcome.batches for outcome in outcomes[1:])
    assert len({str(outcome.text) for outcome in outcomes}) > 4, "the rows differ"


def test_experts_leave_for_others_where_memory_is_scarce_and_no_text_changes(places, engine):
    engine.experts.load(["gl"])
    size = engine.experts.loaded
    assert size == sum(
        weight.numel() * weight.element_size()
        for expert in engine.model.experts_of("gl").values()
        for weight in expert.state_dict().values()
    )
    batch = items()
    expected = texts(engine.run(batch))
    assert engine.experts.loaded == 4 * size
    for fitting in (1, 2, 3):
        scarce = make_engine(places, memory=fitting * size + size // 2)
        for _ in range(2):
            outcomes = scarce.run(batch)
            assert texts(outcomes) == expected
            assert sum(outcomes[0].batches) == len(batch) and scarce.experts.loaded <= fitting * size
            assert len(scarce.model.config.languages) == fitting


def test_the_language_that_was_used_least_recently_leaves_first(places, engine):
    engine.experts.load(["gl"])
    scarce = make_engine(places, memory=2 * engine.experts.loaded)
    for language in ("gl", "ca", "gl", "ru"):
        scarce.experts.load([language])
    assert scarce.model.config.languages == ["gl", "ru"]


def test_windows_that_generate_cannot_mix_are_divided_and_keep_their_order(places, engine):
    kinds = [Settings(), Settings("translate"), Settings(prompt="la ri"), Settings(DETECT)]
    batch = [item for kind in kinds for item in items(kind, MIXED[:2])]
    outcomes = engine.run(batch)
    assert outcomes[0].batches == (2, 2, 2, 2)
    for start, kind in enumerate(kinds):
        assert outcomes[2 * start].text == engine.run([batch[2 * start]])[0].text, kind
    assert texts(outcomes[2:4]) == alone(places, batch[2:4], task="translate")
    assert texts(outcomes[4:6]) != texts(outcomes[:2]), "the prompt is used"


def test_a_prompt_longer_than_whisper_takes_is_cut_to_its_end(engine):
    (long,) = engine.run(items(Settings(prompt="x" * 5000 + " la ri mo tu" * 5), MIXED[:1]))
    (cut,) = engine.run(items(Settings(prompt=" la ri mo tu" * 5), MIXED[:1]))
    assert long.error is None and long.text == cut.text


def test_sampling_gives_the_same_text_alone_and_in_a_batch(engine):
    batch = items(Settings(temperature=0.7), MIXED[:3])
    outcomes = engine.run(batch)
    assert outcomes[0].batches == (1, 1, 1)
    assert texts(outcomes) == [texts(engine.run([item]))[0] for item in batch]


def test_a_damaged_file_of_experts_fails_its_language_alone(places, tmp_path):
    model, more = places
    damaged = shutil.copytree(more, tmp_path / "damaged")
    content = (damaged / "expert.ru.safetensors").read_bytes()
    (damaged / "expert.ru.safetensors").write_bytes(content[: len(content) // 2])
    engine = make_engine((model, damaged))
    batch = items()
    outcomes = engine.run(batch)
    failed = [outcome for outcome in outcomes if outcome.error]
    assert [outcome.language for outcome in failed] == ["ru", "ru"]
    assert failed[0].error == "The experts of 'ru' cannot be loaded." and "Fetch or save it again." in failed[0].detail
    expected = make_engine(places).run(batch)
    assert [one for one in outcomes if not one.error] != []
    for outcome, one in zip(outcomes, expected, strict=True):
        assert outcome.error or outcome.text == one.text
    (damaged / "expert.ru.safetensors").write_bytes(content)
    assert texts(engine.run(batch)) == texts(expected), "a file that was mended is read"


def test_experts_that_are_larger_than_the_memory_are_refused_with_what_to_do(places):
    (outcome,) = make_engine(places, memory=100).run(items(mixed=MIXED[:1]))
    assert outcome.error and "--expert_memory" in outcome.detail


def test_two_places_with_experts_of_one_language_are_refused(places):
    model, more = places
    with pytest.raises(ValueError, match="both have experts of 'ca'"):
        Engine(str(model), [str(more), str(model.parent / "more"), str(_copy(model))], 10**9, "float32", "cpu")


def _copy(folder):
    return shutil.copytree(folder, folder.parent / "copy", dirs_exist_ok=True)


def test_a_plain_whisper_takes_experts_from_another_folder(places, whisper_dir):
    engine = Engine(str(whisper_dir), [str(places[1])], 10**9, "float32", "cpu")
    assert engine.describe().experts == ("fr", "ru")
    batch = items(mixed=[("ru", 800), ("gl", 300)])
    plain = Engine(str(whisper_dir), [], 10**9, "float32", "cpu")
    russian, galician = texts(engine.run(batch))
    assert galician == texts(plain.run(batch))[1] and russian != texts(plain.run(batch))[0]
    assert plain.describe().experts == ()


def test_languages_are_detected_as_the_model_detects_them(engine):
    outcomes = engine.run([Item(item.samples, None, Settings(DETECT)) for item in items()])
    for outcome, item in zip(outcomes, items(), strict=True):
        transcript = transcript_alone(engine.model, engine.processor, item.samples, None)
        assert outcome.language == transcript.language


def test_a_window_that_fails_leaves_the_others_their_transcripts(engine):
    batch = items(mixed=MIXED[:3])
    expected = texts(engine.run(batch))
    batch[1] = Item(batch[1].samples * float("nan"), "ca", Settings())
    outcomes = engine.run(batch)
    assert outcomes[1].error == "The model failed on this recording." and "NaN" in outcomes[1].detail
    assert [texts([outcomes[0]])[0], texts([outcomes[2]])[0]] == [expected[0], expected[2]]


def test_only_what_ray_asks_of_an_ended_replica_is_left_out_of_the_log():
    """Its traceback would stand beside the line that says it, which is all that people can do something with."""
    pytest.importorskip("ray", reason="needs the extra `serve`")
    import logging

    from ray.exceptions import RayActorError, RayTaskError

    from modeling_distilwhisper.serving.cluster import _is_not_of_ray

    def record(error):
        return logging.LogRecord("asyncio", logging.ERROR, "", 0, "x", (), (type(error), error, None))

    assert not _is_not_of_ray(record(RayActorError()))
    assert _is_not_of_ray(record(ValueError()))
    assert _is_not_of_ray(record(RayTaskError("call", "traceback", ValueError())))
    assert _is_not_of_ray(logging.LogRecord("asyncio", logging.ERROR, "", 0, "x", (), None))
