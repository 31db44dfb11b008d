"""A server under load, while others send what no honest client sends, and while its replica is killed."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from helpers import attack, serving
from helpers.serving import NAME, wav

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, Silero, load_processor, read_audio

pytest.importorskip("ray", reason="needs the extra `serve`")
openai = pytest.importorskip("openai", reason="needs OpenAI's client")
pytestmark = pytest.mark.slow
KEY = "a-key-of-the-tests"
LANGUAGES = ("gl", "ca", "ru", "fr", "en")
CLIENTS, REQUESTS = 16, 200


@pytest.fixture(scope="module")
def served(places, tmp_path_factory):
    model, more = places
    limits = ["--max_upload", 1, "--upload_seconds", 3, "--max_minutes", 1, "--max_requests", 60]
    settings = ["--name", NAME, "--experts", more, "--device", "cpu", "--threads", 1, "--batch_size", 8, *limits]
    with serving.server(tmp_path_factory.mktemp("server"), model, *settings, DISTILWHISPER_API_KEY=KEY) as started:
        yield started


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=f"{served[0]}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def honest(places):
    """Content, language and what `generate` says of it alone."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(places[0]).eval()
    for language in ("ru", "fr"):
        model.load_experts(places[1], language)
    processor = load_processor(str(places[0]))
    asked = []
    for number, language in enumerate(2 * LANGUAGES):
        content = wav(1.0 + 0.2 * number, 300 + 90 * number)
        text = serving.transcript_alone(model, processor, read_audio(content), language).text
        asked.append((content, language, text))
    assert len({text for *_, text in asked}) > 3
    return asked


def ask(client, request):
    """Whether a request was answered rightly, or the error."""
    content, language, text = request
    try:
        said = client.audio.transcriptions.create(model=NAME, file=("a.wav", content), language=language).text
    except openai.APIError as error:
        return error
    return said == text


def test_fifty_hostile_requests_are_refused_while_honest_ones_get_their_transcripts(served, client, honest):
    host, port = served[0].removeprefix("http://").split(":")
    over, answers = threading.Event(), []

    def keep_asking(start: int) -> None:
        for number in range(start, 10**6):
            if over.is_set():
                return
            answers.append(ask(client, honest[number % len(honest)]))

    hostile = attack.requests(KEY)
    assert len(hostile) == 50 == len({one.name for one in hostile})
    with ThreadPoolExecutor(4) as clients, ThreadPoolExecutor(10) as attackers:
        for start in range(4):
            clients.submit(keep_asking, start)
        try:
            got = list(attackers.map(lambda one: attack.send((host, int(port)), one), hostile))
        finally:
            over.set()
    wrong = []
    for one, answer in zip(hostile, got, strict=True):
        status = str(answer.status) if answer.status else ""
        fits = any(status.startswith(begin) if begin else not status for begin in one.allowed)
        if not fits or answer.seconds > attack.WAIT:
            wrong.append((one.name, answer))
    assert not wrong, wrong
    behind = got[[one.name for one in hostile].index(attack.BEHIND)]
    assert b"HTTP/1.1" not in behind.body, "the second request was answered"
    refused = [answer for answer in got if answer.status >= 400]
    no_http = [answer for answer in refused if b"Invalid HTTP request received." in answer.body]
    assert len(refused) > 35 and len(no_http) < 12
    assert all(answer.is_an_error_in_openais_form() for answer in refused if answer not in no_http), refused
    assert len(answers) >= 4, "each client has got one at least, however busy the machine is"
    assert all(answer is True for answer in answers), [one for one in answers if one is not True]
    end = time.monotonic() + 20
    while serving.number(served[0], "distilwhisper_requests_in_progress"):
        assert time.monotonic() < end, "a place is not free again"
        time.sleep(0.1)
    assert served[1].poll() is None and "Traceback" not in served[2].read_text(), served[2].read_text()


def test_a_replica_killed_under_load_costs_what_was_in_flight_and_nothing_else(served, client, honest):
    """Whoever asks again is served by the next replica, with the same transcripts."""
    results = []

    def one(number: int):
        results.append(ask(client, honest[number % len(honest)]))
        return results[-1]

    with ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(one, number) for number in range(REQUESTS)]
        while len(results) < REQUESTS // 4 or not serving.number(served[0], "distilwhisper_requests_in_progress"):
            time.sleep(0.01)
        (replica,) = serving.replicas_of(served[1])
        os.kill(replica, signal.SIGKILL)
    errors = [result for result in (task.result() for task in asked) if result is not True]
    assert all(isinstance(error, openai.InternalServerError) for error in errors), errors
    assert {(error.status_code, error.code) for error in errors} <= {(503, "replica_ended")}
    assert len(errors) <= 2 * CLIENTS, "those that were in flight, or came before it was known"
    assert len(results) == REQUESTS


def test_recordings_short_and_long_that_are_heard_at_the_same_time_say_what_they_say_alone(places, tmp_path):
    """silero-vad keeps what it heard last: two at a time got each other's spans, or ended the server."""
    clips = sorted((Path(__file__).parents[2] / "examples/quickstart/in_domain/hu/test").glob("*.ogg"))[:10]
    long = [np.tile(read_audio(path), 12) for path in clips[:2]]
    contents = [*(path.read_bytes() for path in clips), *(serving.encoded(samples, "FLAC") for samples in long)]
    model, processor = (
        DistilWhisperForConditionalGeneration.from_pretrained(places[0]).eval(),
        load_processor(str(places[0])),
    )
    detector = Silero()
    alone = [serving.transcript_alone(model, processor, read_audio(one), "gl", detector).text for one in contents]
    with serving.server(
        tmp_path, places[0], "--name", NAME, "--device", "cpu", "--threads", 1, vad="silero"
    ) as started:
        client = openai.OpenAI(base_url=f"{started[0]}/v1", api_key="none", max_retries=0)
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda one: ask(client, one), zip(contents, ["gl"] * 12, alone, strict=True)))
    assert answers == [True] * 12
    assert len(set(alone)) > 3
