"""Requests that wait for a busy function share its next call, and each gets its own answer."""

import threading
from pathlib import Path

import numpy as np
import pytest

from modeling_distilwhisper import Silero, read_audio
from modeling_distilwhisper.serving.gathering import Gathering
from modeling_distilwhisper.serving.listening import Listener

CLIPS = sorted((Path(__file__).parents[2] / "examples/quickstart/in_domain/hu/test").glob("*.ogg"))


class Busy:
    """A function that works until it may go on, and keeps what it was called with."""

    def __init__(self):
        self.calls, self.began, self.may_end = [], threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.calls.append(items)
        self.began.set()
        assert self.may_end.wait(20)
        if -1 in items:
            raise ValueError("no such item")
        return [10 * item for item in items]


@pytest.fixture
def busy():
    return Busy()


def test_all_that_waits_for_a_busy_function_goes_into_its_next_calls(busy):
    """Batches that were closed before the function was free stayed small under load."""
    gathering = Gathering(busy, most=4, wait=0)
    first = gathering.submit(0)
    assert busy.began.wait(20)
    others = [gathering.submit(number) for number in range(1, 8)]
    busy.may_end.set()
    assert [one.result(20) for one in (first, *others)] == [0, 10, 20, 30, 40, 50, 60, 70]
    assert busy.calls == [[0], [1, 2, 3, 4], [5, 6, 7]]


def test_an_item_that_is_no_longer_wanted_takes_no_place(busy):
    gathering = Gathering(busy, most=2, wait=0)
    first = gathering.submit(0)
    assert busy.began.wait(20)
    gone, second, third = (gathering.submit(number) for number in (1, 2, 3))
    assert gone.cancel()
    busy.may_end.set()
    assert [one.result(20) for one in (first, second, third)] == [0, 20, 30]
    assert busy.calls == [[0], [2, 3]]


def test_after_a_call_that_failed_the_next_ones_are_answered(busy):
    gathering = Gathering(busy, most=2, wait=0)
    busy.may_end.set()
    with pytest.raises(ValueError, match="no such item"):
        gathering.submit(-1).result(20)
    gathering.call = lambda items: []
    with pytest.raises(ValueError, match="shorter"):
        gathering.submit(1).result(20)

    def panics(items):
        raise SystemExit  # as a library in Rust may do: no Exception

    gathering.call = panics
    with pytest.raises(SystemExit):
        gathering.submit(1).result(20)
    gathering.call = busy
    assert gathering.submit(3).result(20) == 30


def test_speech_of_recordings_that_arrive_together_is_where_it_is_alone():
    """Short ones and a long one, a silent one and an empty one."""
    clips = [read_audio(path) for path in CLIPS[:6]]
    long = np.tile(read_audio(CLIPS[7]), 20)
    recordings = [*clips, long, clips[0] * 0, clips[0][:0], clips[1] * 0.01]
    detector = Silero()
    listener = Listener(detector)
    found = [one.result(60) for one in [listener.submit(samples) for samples in recordings]]
    assert found == [detector(samples) for samples in recordings]
    assert found[7:9] == [[], []] and all(found[:6])
    assert len(found[6]) > 10 and found[6][-1][1] > 40 * 16_000


def test_a_detector_of_the_users_own_hears_each_recording_by_itself():
    listener = Listener(lambda samples: [(0, len(samples))])
    clip = read_audio(CLIPS[0])
    assert listener.submit(clip).result(20) == [(0, len(clip))]
