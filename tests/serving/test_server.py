"""`distilwhisper serve` as people start it, asked by OpenAI's own client: one server for all tests of this file."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import serving
from helpers.serving import NAME, wav

from modeling_distilwhisper import DistilWhisperForConditionalGeneration, load_processor, read_audio

pytest.importorskip("ray", reason="needs the extra `serve`")
openai = pytest.importorskip("openai", reason="needs OpenAI's client")
pytestmark = pytest.mark.slow
LANGUAGES = ["gl", "ca", "ru", "fr", "en", "gl", "ca", "ru"]
KEY = "a-key-of-the-tests"


@pytest.fixture(scope="module")
def served(places, tmp_path_factory):
    model, more = places
    folder = tmp_path_factory.mktemp("server")
    limits = ["--max_upload", 1, "--upload_seconds", 3, "--max_minutes", 1, "--max_requests", 10]
    settings = ["--name", NAME, "--experts", more, "--device", "cpu", "--threads", 1, *limits]
    settings += ["--candidate_languages", "ru", "fr"]  # of those that the other place has
    with serving.server(folder, model, *settings, DISTILWHISPER_API_KEY=KEY) as started:
        yield started


@pytest.fixture
def client(served):
    return openai.OpenAI(base_url=f"{served[0]}/v1", api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def generate(places):
    """What `generate` says of a recording alone."""
    model = DistilWhisperForConditionalGeneration.from_pretrained(places[0]).eval()
    for language in ("ru", "fr"):
        model.load_experts(places[1], language)
    processor = load_processor(str(places[0]))

    def say(content, language):
        samples = read_audio(content)
        return serving.transcript_alone(model, processor, samples, language).text

    return say


def say(client, content, language="gl", **settings):
    return client.audio.transcriptions.create(model=NAME, file=("a.wav", content), language=language, **settings)


def test_eight_requests_of_five_languages_share_batches_and_say_what_they_say_alone(served, client, generate):
    clips = [wav(1.0 + 0.1 * number, 300 + 100 * number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        texts = [answer.text for answer in pool.map(lambda one: say(client, *one), zip(clips, LANGUAGES, strict=True))]
    assert texts == [generate(*one) for one in zip(clips, LANGUAGES, strict=True)]
    assert len(set(texts)) > 5
    assert serving.number(served[0], "distilwhisper_batch_windows_sum") == 8
    assert serving.number(served[0], "distilwhisper_batch_windows_count") < 8


def test_the_client_reads_every_format_streams_and_models(client, generate):
    content = wav(1.4, 620)
    assert say(client, content, response_format="text") == generate(content, "gl") + "\n"
    assert "-->" in say(client, content, response_format="srt")
    verbose = say(client, content, response_format="verbose_json", timestamp_granularities=["segment"])
    assert verbose.language == "galician" and verbose.segments[0].end > 0
    events = list(say(client, wav(5), stream=True))
    assert events[-1].type == "transcript.text.done"
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == say(client, wav(5)).text
    translated = client.audio.translations.create(model=f"{NAME}:ca", file=("a.wav", content))
    assert isinstance(translated.text, str)
    assert [model.id for model in client.models.list()] == [
        NAME,
        *(f"{NAME}:{code}" for code in ("ca", "fr", "gl", "ru")),
    ]


def test_a_request_without_language_gets_one_of_those_that_the_server_was_started_for(served, client, generate):
    content = wav(1.2, 900)
    answer = client.audio.transcriptions.create(model=NAME, file=("a.wav", content), response_format="verbose_json")
    code = {"russian": "ru", "french": "fr"}[answer.language]
    assert answer.text == generate(content, code)


def test_mistakes_are_the_exceptions_of_the_client(served, client):
    for error, call in {
        openai.NotFoundError: lambda: client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav())),
        openai.BadRequestError: lambda: say(client, wav(), language="xx"),
        openai.AuthenticationError: lambda: client.with_options(api_key="wrong").models.list(),
    }.items():
        with pytest.raises(error):
            call()
    with pytest.raises(openai.APIStatusError) as large:
        say(client, os.urandom(3_000_000))
    assert large.value.status_code == 413 and large.value.code == "file_too_large"


def raw(served, content: bytes, seconds: float = 20) -> bytes:
    """What the server answers to bytes, until it hangs up."""
    host, port = served[0].removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_hostile_requests_are_answered_and_the_server_goes_on(served, client):
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    huge = raw(served, f"{head}X-Huge: {'x' * 100_000}\r\n\r\n".encode())
    assert huge.startswith(b"HTTP/1.1 4")
    slow = raw(
        served, f"{head}Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 500\r\n\r\n--x".encode()
    )
    assert slow.startswith(b"HTTP/1.1 408") and b'"upload_timeout"' in slow
    endless = "Transfer-Encoding: chunked\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(1_500_000)
    assert raw(served, f"{head}{endless}{len(part):x}\r\n".encode() + part + b"\r\n").startswith(b"HTTP/1.1 413")
    assert raw(served, b"\x00\x01\x02\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert say(client, wav()).text


def test_more_requests_than_places_are_told_to_come_again_and_no_transcript_is_wrong(client, generate):
    content = wav(10, 440)

    def one(number):
        try:
            return say(client, content).text
        except openai.RateLimitError as error:
            return int(error.response.headers["retry-after"])

    with ThreadPoolExecutor(24) as pool:
        texts = list(pool.map(one, range(24)))
    refused = [text for text in texts if isinstance(text, int)]
    assert refused and len(refused) <= 14 and all(1 <= seconds <= 60 for seconds in refused)
    assert len({text for text in texts if isinstance(text, str)}) == 1


def test_a_client_that_hangs_up_leaves_its_place_to_others(served, client):
    impatient = client.with_options(timeout=0.3)
    with ThreadPoolExecutor(9) as pool:
        for result in [pool.submit(say, impatient, wav(30, 440)) for _ in range(9)]:
            assert isinstance(result.exception(), openai.APITimeoutError) or result.result().text
    end = time.monotonic() + 10
    while serving.number(served[0], "distilwhisper_requests_in_progress"):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert say(client, wav()).text


def test_a_killed_replica_costs_what_it_was_doing_and_nothing_else(served, client, generate):
    content = wav(30, 440)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(say, client, content) for _ in range(4)]
        time.sleep(0.5)
        for pid in serving.replicas_of(served[1]):
            os.kill(pid, signal.SIGKILL)
        results = [one.exception() or one.result() for one in asked]
    for result in results:
        assert isinstance(result, openai.InternalServerError) or result.text
    failed = [result for result in results if isinstance(result, openai.InternalServerError)]
    assert failed and {one.status_code for one in failed} == {503} and failed[0].code == "replica_ended"
    assert say(client, wav()).text == generate(wav(), "gl"), "the next replica answers"


def test_when_it_is_stopped_the_requests_it_has_are_finished(served, client):
    _, process, log = served
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(say, client, wav(20, 440))
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert asked.result().text
    assert process.wait(serving.END) == 0
    assert KEY not in log.read_text() and "Traceback" not in log.read_text(), log.read_text()


def test_help_needs_neither_ray_nor_a_server():
    code = "import sys; from distilwhisper_cli import main\ntry: main(['serve', '--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('ray', 'starlette', 'uvicorn') if name in sys.modules])"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.stdout.endswith("[]\n") and "--expert_memory" in done.stdout
