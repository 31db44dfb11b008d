"""The speech pipeline takes the model for a Whisper, on long audio and with timestamps, and uses its experts."""

import pytest
import torch
from helpers.speech import make_pipeline
from transformers import pipeline

CASES = {
    "short": (1.0, {}),
    "long": (7.0, {"return_timestamps": True}),
    "segments": (1.5, {"return_timestamps": True}),
    "words": (1.5, {"return_timestamps": "word"}),
    "long words": (5.0, {"return_timestamps": "word"}),
    "chunks": (5.0, {"chunk_length_s": 2, "stride_length_s": 0.2}),
}


def run(pipe, case: str, language: str):
    seconds, settings = CASES[case]
    samples = torch.randn(int(16_000 * seconds), generator=torch.Generator().manual_seed(4)).numpy()
    return pipe(samples, generate_kwargs={"language": language, "max_new_tokens": 30}, **settings)


@pytest.mark.parametrize("case", CASES)
def test_a_language_without_an_expert_is_transcribed_as_by_whisper(model, whisper, processor, case):
    ours, theirs = (make_pipeline(each, processor) for each in (model, whisper))
    assert ours.type == theirs.type == "seq2seq_whisper"
    assert run(ours, case, "fr") == run(theirs, case, "fr")


@pytest.mark.parametrize("case", CASES)
def test_an_expert_changes_the_transcript_and_timestamps_come_along(model, whisper, processor, case):
    ours, theirs = (run(make_pipeline(each, processor), case, "gl") for each in (model, whisper))
    assert ours["text"] != theirs["text"]
    if "return_timestamps" in CASES[case][1]:
        assert ours["chunks"] and all(len(chunk["timestamp"]) == 2 for chunk in ours["chunks"])


def test_a_batch_of_files_is_transcribed_as_one_by_one(model, processor):
    pipe = make_pipeline(model, processor)
    generator = torch.Generator().manual_seed(5)
    clips = [torch.randn(int(16_000 * seconds), generator=generator).numpy() for seconds in (0.5, 1.9, 1.2)]
    settings = {"generate_kwargs": {"language": "ca", "max_new_tokens": 8}}
    assert pipe(clips, batch_size=3, **settings) == [pipe(clip, **settings) for clip in clips]


def test_the_saved_folder_is_enough_for_the_pipeline(model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    from_folder = pipeline("automatic-speech-recognition", model=str(tmp_path))
    assert run(from_folder, "segments", "gl") == run(make_pipeline(model, processor), "segments", "gl")
