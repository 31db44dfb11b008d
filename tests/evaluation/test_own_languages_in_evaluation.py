"""A model that does not know a language is scored on it all the same: it is asked for the one that comes next."""

import torch
from helpers import speech, tiny
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.evaluation.transcription import known_or_detected, transcribe_batch


def test_plain_whisper_is_asked_for_the_language_that_it_detects_or_that_a_name_is_a_part_of(whisper_dir, processor):
    """One row of a language that it has no token for would otherwise end the scores of all."""
    whisper = WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()
    clips = [speech.tone(pitch) for pitch in (300, 700, 1500, 900)]
    features = speech_features(processor, clips).input_features
    names = {token.strip("<|>"): index for token, index in whisper.generation_config.lang_to_id.items()}
    detected = {index: name for name, index in names.items()}[int(whisper.detect_language(features[1:2]))]
    asked = known_or_detected(whisper, features, ["gl", "ga", "gl-AO", "ru"])
    assert asked == ["gl", detected, "gl", "ru"]
    texts = transcribe_batch(whisper, processor, clips, ["gl", "ga", "gl-AO", "ru"], max_new_tokens=6)
    assert texts == transcribe_batch(whisper, processor, clips, asked, max_new_tokens=6)


def test_a_model_with_experts_of_the_name_is_asked_for_it(whisper_dir, processor):
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["ga", "gl-AO"], init_from={"ga": "ru"})
    tiny.unsettle(model.eval())
    features = torch.zeros(2, 8, 200)
    assert known_or_detected(model, features, ["ga", "gl-AO"]) == ["ga", "gl-AO"]
