"""Arrays of other types and shapes given to `transcribe_clips`: the same transcript, or an error."""

import functools

import numpy as np
import torch

from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.runs.any_whisper import load_model, load_processor
from modeling_distilwhisper.transcription.sequential import transcribe_clips

from ..trial import Wrong

QUICKSTART = "examples/quickstart"
TEXT = "disset quilograms"


@functools.cache
def teacher():
    folder = f"{QUICKSTART}/teacher"
    return (
        load_model(folder, "float32", "cpu"),
        load_processor(folder),
        read_audio(f"{QUICKSTART}/in_domain/ca/test/000.ogg"),
    )


FORMS = {
    "float32": lambda clip: clip,
    "float64": lambda clip: clip.astype(np.float64),
    "float16": lambda clip: clip.astype(np.float16),
    "int16": lambda clip: (clip * 32767).astype(np.int16),
    "int32": lambda clip: (clip * (2**31 - 1)).astype(np.int32),
    "uint8": lambda clip: ((clip + 1) * 127.5).astype(np.uint8),
    "int64 of 16 bits": lambda clip: (clip * 32767).astype(np.int64),
    "list": lambda clip: clip.tolist(),
    "tensor": lambda clip: torch.from_numpy(clip),
    "channels first": lambda clip: np.stack([clip, clip]),
    "channels last": lambda clip: np.stack([clip, clip], axis=1),
    "one channel first": lambda clip: clip[None],
    "one channel last": lambda clip: clip[:, None],
    "three dimensions": lambda clip: clip[None, None],
    "read only": lambda clip: np.frombuffer(clip.tobytes(), dtype=np.float32),
    "other byte order": lambda clip: clip.astype(">f4"),
    "not contiguous": lambda clip: np.repeat(clip, 2)[::2],
    "NaN in it": lambda clip: np.concatenate([clip, [np.nan]]).astype(np.float32),
    "infinite": lambda clip: np.concatenate([clip, [np.inf]]).astype(np.float32),
    "1e30": lambda clip: np.concatenate([clip, [1e30]]).astype(np.float32),
    "complex": lambda clip: clip.astype(complex),
    "bool": lambda clip: clip > 0,
    "objects": lambda clip: clip.astype(object),
    "text": lambda clip: "examples/a.wav",
    "bytes": lambda clip: clip.tobytes(),
    "None": lambda clip: None,
    "a number": lambda clip: 0.5,
    "no dimension": lambda clip: np.float32(0.5),
    "a mapping": lambda clip: {"array": clip, "sampling_rate": 16_000},
}


def trial(form):
    def act(folder):
        model, processor, clip = teacher()
        (transcript,) = transcribe_clips(model, processor, [form(clip)], ["ca"], return_timestamps=False)
        if transcript.text != TEXT:
            raise Wrong(f"{transcript.text!r} in place of {TEXT!r}")

    return act


def neighbours(folder):
    """A clip's text does not depend on the length of the recordings beside it."""
    model, processor, clip = teacher()
    long = np.tile(clip, 30)
    (alone,) = transcribe_clips(model, processor, [clip], ["ca"], return_timestamps=False)
    beside, _ = transcribe_clips(model, processor, [clip, long], ["ca", "ca"], return_timestamps=False)
    if alone.segments != beside.segments:
        raise Wrong(f"alone {alone.segments}, beside a long recording {beside.segments}")


def lengths(folder):
    model, processor, clip = teacher()
    transcribe_clips(model, processor, [clip, clip], ["ca"])
    raise Wrong("two clips and one language")


def trials():
    teacher()  # loaded once, before the processes are forked
    for name, form in FORMS.items():
        yield name, trial(form)
    yield "a long recording beside a short one", neighbours
    yield "fewer languages than clips", lengths
