"""Labels without references: scores are what they say, and no label depends on the recordings beside it."""

import numpy as np
import pytest
import soundfile
import torch
from helpers import speech
from helpers.speech import RATE, clip
from transformers import WhisperProcessor

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, add_own_tokens
from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.data.folder import read_folder
from modeling_distilwhisper.data.labels import label_ids
from modeling_distilwhisper.evaluation.metrics import error_rates
from modeling_distilwhisper.transcription.doubts import compression_ratio
from modeling_distilwhisper.transcription.label_filters import EMPTY, INVENTED, Filters
from modeling_distilwhisper.transcription.labelled_corpus import LabelledCorpus
from modeling_distilwhisper.transcription.pseudo_labels import Label, PseudoLabeller, Second, Speech
from modeling_distilwhisper.transcription.windows import Window, cut_windows

LENGTHS = {"a": 2.0, "b": 1.5, "c": 0.7, "d": 5.0}


def speeches(processor, language="gl", names="abcd"):
    limit = processor.feature_extractor.n_samples
    clips = {name: clip(LENGTHS[name], 300 + 200 * index) for index, name in enumerate("abcd")}
    return [Speech(name, clips[name], cut_windows([(0, len(clips[name]))], limit), language) for name in names]


def labelled(model, processor, given, **settings):
    labeller = PseudoLabeller(model, processor, max_new_tokens=12, **settings)
    return {one.key: (one, labels) for one, labels in labeller(given)}


@pytest.mark.parametrize("num_beams", [1, 2])
@pytest.mark.parametrize("has_experts", [True, False])
def test_the_scores_are_those_of_a_training_on_the_label_and_of_whispers_own_weights(
    model, whisper, processor, num_beams, has_experts
):
    """Experts take part in the text, as in a training, and not in what is asked of the start token alone."""
    model = model if has_experts else whisper.eval()
    given = speeches(processor)
    found = labelled(model, processor, given, batch_size=3, num_beams=num_beams)
    assert [len(labels) for _, labels in found.values()] == [1, 1, 1, 3]
    for one, labels in found.values():
        for window, label in zip(one.windows, labels, strict=True):
            samples = window.cut(one.samples)
            batch = SpeechCollator(processor)([{"audio": samples, "text": label.text, "language": "gl"}])
            assert label.text and label.language == "gl"
            with torch.no_grad():
                logits = model(**batch).logits[0].double().log_softmax(-1)
                start = torch.tensor([[model.config.decoder_start_token_id]])
                at_start = whisper(batch["input_features"], decoder_input_ids=start).logits[0, 0].double()
            of_tokens = logits.gather(1, batch["labels"][0][:, None])[3:, 0]
            tokens = processor.tokenizer.convert_tokens_to_ids
            codes = list(model.generation_config.lang_to_id)
            expected = {
                "mean_logprob": of_tokens.mean().item(),
                "lowest_logprob": of_tokens.min().item(),
                "no_speech": at_start.softmax(-1)[tokens("<|nospeech|>")].item(),
                "language_probability": at_start[tokens(codes)].softmax(-1)[codes.index("<|gl|>")].item(),
                "compression_ratio": compression_ratio(label.text),
                "characters_per_second": len(label.text.replace(" ", "")) / (len(samples) / RATE),
            }
            assert label.scores == pytest.approx(expected, abs=1e-3)
            assert len(of_tokens) == len(label_ids(processor.tokenizer, label.text, "gl")) - 3


def test_a_whisper_without_experts_encodes_each_utterance_once(whisper, processor):
    """Encoding is most of the work on short utterances."""
    encoded = []
    hook = whisper.get_encoder().register_forward_hook(lambda module, given, output: encoded.append(len(output[0])))
    labels = labelled(whisper.eval(), processor, speeches(processor), batch_size=3)
    hook.remove()
    assert sum(encoded) == sum(len(of_speech) for _, of_speech in labels.values()) == 6


def test_no_label_depends_on_the_recordings_beside_it(model, processor):
    together = labelled(model, processor, speeches(processor), batch_size=4)
    for name in "abcd":
        ((_, alone),) = labelled(model, processor, speeches(processor, names=name), batch_size=1).values()
        for label, other in zip(alone, together[name][1], strict=True):
            assert label.text == other.text and label.scores == pytest.approx(other.scores, abs=1e-3)


@pytest.mark.parametrize("settings", [{"num_beams": 3}, {"num_beams": 1, "do_sample": True, "temperature": 1.0}])
def test_disagreement_is_the_error_rate_of_the_second_text_whatever_is_in_the_batch(model, processor, settings):
    second = Second(model, processor, {**settings, "max_new_tokens": 12})
    together = labelled(model, processor, speeches(processor), batch_size=4, second=second)
    ((_, alone),) = labelled(model, processor, speeches(processor, names="b"), second=second).values()
    assert alone[0].second_text == together["b"][1][0].second_text
    labels = [label for _, of_one in together.values() for label in of_one]
    assert any(label.second_text != label.text for label in labels)
    for label in labels:
        wer = error_rates([label.text], [label.second_text], languages="gl")["wer"]
        assert label.scores["disagreement"] == pytest.approx(wer, abs=1e-4)


def test_a_recording_that_breaks_the_model_is_reported_and_the_others_have_their_labels(model, processor):
    given = speeches(processor, names="abc")
    given[1].language = "xx"
    found = labelled(model, processor, given, batch_size=3)
    assert isinstance(found["b"][1], Exception) and found["a"][1][0].text and found["c"][1][0].text


def test_a_language_that_is_not_given_is_that_of_the_first_utterance(model, whisper, processor):
    (one, labels) = labelled(model, processor, speeches(processor, None, "d"))["d"]
    names = {token: name.strip("<|>") for name, token in whisper.generation_config.lang_to_id.items()}
    features = processor(one.windows[0].cut(one.samples), sampling_rate=RATE, return_tensors="pt").input_features
    assert {label.language for label in labels} == {names[whisper.detect_language(features).item()]}


def rows_of(**scores):
    """Rows whose ids are letters, from a list of values for each score."""
    counts = len(next(iter(scores.values())))
    return [
        {
            "id": "abcdefghij"[number],
            "text": "la",
            "language": "gl",
            "doubt": None,
            "scores": {name: values[number] for name, values in scores.items()},
        }
        for number in range(counts)
    ]


def kept_by(filters, rows):
    return "".join(row["id"] for row, reason in zip(rows, filters.reasons(rows), strict=True) if reason is None)


def test_thresholds_keep_exactly_the_rows_on_their_side_and_at_them():
    rows = rows_of(mean_logprob=[-0.5, -0.7, -0.71, -3.0], no_speech=[0.1, 0.6, 0.2, 0.61])
    assert kept_by(Filters(), rows) == "abcd"
    assert kept_by(Filters(at_least={"mean_logprob": -0.7}), rows) == "ab"
    assert kept_by(Filters(at_most={"no_speech": 0.6}), rows) == "abc"
    assert Filters(at_least={"mean_logprob": -0.7}, at_most={"no_speech": 0.15}).reasons(rows) == [
        None,
        "no_speech above 0.15",
        "mean_logprob below -0.7",
        "mean_logprob below -0.7",
    ]


def test_a_share_is_one_of_each_language_after_the_thresholds_and_from_the_better_end():
    rows = rows_of(mean_logprob=[-1, -2, -3, -4, -5, -0.1, -0.2, -9], disagreement=[5, 4, 3, 2, 1, 0, 0, 0])
    for row in rows[5:]:
        row["language"] = "ca"
    assert kept_by(Filters(best={"mean_logprob": 0.6}), rows) == "abcfg"
    assert kept_by(Filters(best={"disagreement": 0.2}), rows) == "ef", "less of it is better; of equal ones, by name"
    assert kept_by(Filters(at_least={"mean_logprob": -4}, best={"mean_logprob": 0.5}), rows) == "abf"
    assert kept_by(Filters(best={"mean_logprob": 0.8, "disagreement": 0.5}), rows) == "cdfg"
    assert kept_by(Filters(best={"mean_logprob": 1.0}), rows) == "abcdefgh"
    assert kept_by(Filters(best={"mean_logprob": 0.7}), rows_of(mean_logprob=range(10))) == "defghij"


def test_empty_and_invented_texts_are_dropped_first_and_a_score_that_is_missing_is_not_passed():
    rows = rows_of(mean_logprob=[None, -0.1, -0.1, None])
    rows[0]["text"], rows[1]["doubt"] = "", "it repeats itself"
    filters = Filters(at_least={"mean_logprob": -5})
    assert filters.reasons(rows) == [EMPTY, INVENTED, None, "mean_logprob below -5"]
    assert kept_by(Filters(keep_doubtful=True), rows) == "bcd"
    with pytest.raises(ValueError, match="disagreement, which no label has. Label with --second_model"):
        Filters(at_most={"disagreement": 0.1}).reasons(rows)
    with pytest.raises(ValueError, match="no end of characters_per_second is the better one"):
        Filters(best={"characters_per_second": 0.5})


@pytest.mark.parametrize("name", ["../../out", "/tmp/out", "a\0b", "é" * 300, "..", "", "b\nc", "CON"])
def test_a_name_from_outside_never_becomes_a_path(tmp_path, name):
    folder = tmp_path / "deep/labelled"
    corpus = LabelledCorpus(folder)
    samples = speech.tone(500, 1.0)
    windows = [Window(((0, 4000), (8000, 16000))), Window(((4000, 8000),))]
    corpus.add(name, samples, windows, [Label("la ri", "gl", {}), Label("mo", "gl", {})])
    corpus.write_listing(corpus.rows([name]), weight=2.0)
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    listed = [file for file in files if not file.startswith("deep/labelled/_lock")]
    assert sorted(listed)[0] == "deep/labelled/labels.jsonl" and len(listed) == 4
    assert all(file.isascii() and len(file) < 90 for file in listed)
    if "\0" not in name:  # which no row may have
        rows = read_folder(folder, "train", "gl")
        assert rows["text"][:] == ["la ri", "mo"] and rows["loss_weight"][:] == [2.0, 2.0]
        assert corpus.done({name: None}) == {name}


def test_an_utterance_is_its_windows_without_the_pauses_and_a_lost_one_is_labelled_again(tmp_path):
    corpus = LabelledCorpus(tmp_path)
    samples = speech.tone(500, 1.0)
    corpus.add("a", samples, [Window(((0, 4000), (8000, 16000)))], [Label("la", "gl", {})], size=7)
    corpus.add("silent", samples, [], [])
    corpus.write_listing(corpus.rows(["a", "silent"]), weight=1.0)
    (row,) = read_folder(tmp_path, "train", "gl")
    assert row["loss_weight"] == 1.0 and corpus.silent(["a", "silent"]) == ["silent"]
    written, rate = soundfile.read(row["audio"]["path"], dtype="float32")
    assert rate == RATE
    np.testing.assert_allclose(written, np.concatenate([samples[:4000], samples[8000:]]), atol=1 / 2**15)
    assert corpus.done({"a": 7, "silent": None}) == {"a", "silent"}
    assert corpus.done({"a": 8, "silent": None}) == {"silent"}, "its file changed"
    corpus.add("a", samples, [Window(((0, 4000),))], [Label("la", "gl", {})], size=8)
    (tmp_path / "train" / corpus.audio_of("a", 0)).unlink()
    assert corpus.done({"a": 8}) == {"silent"}


def test_a_model_with_a_language_that_whisper_does_not_know_labels_all_of_its_languages(whisper_dir, processor):
    """Whisper's logits have no place for such a language: the score of a language would be looked up beyond them."""
    starts = {"ga": "ru", "kab": {"fr": 1.0, "ca": 1.0, "ru": 1.0, "en": 1.0, "gl": 1.0}}
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "ga", "kab"], init_from=starts)
    processor = WhisperProcessor.from_pretrained(whisper_dir)  # it changes
    add_own_tokens(processor.tokenizer, model)
    for language in ("gl", "ga", "kab"):
        found = labelled(model.eval(), processor, speeches(processor, language, "ab"))
        labels = [label for _, labels in found.values() for label in labels]
        assert [label.language for label in labels] == [language] * 2
        assert all(0 <= label.scores["language_probability"] <= 1 for label in labels)
