"""What a visitor of the page cannot ask for. Without Gradio: the guard stands before it."""

import asyncio
import json
import time

import numpy as np
import pytest
import soundfile
from helpers.training import load

from modeling_distilwhisper.commands import demo_limits
from modeling_distilwhisper.commands.demo_limits import Deadline, Guard, TooLongError, check_length
from modeling_distilwhisper.transcription.side_by_side import transcribe_side_by_side


def ask(folder, method: str, path: str, chunks=(b"",), headers=()) -> tuple[int, bytes]:
    """Status of the answer, and the body as the app behind the guard read it."""
    read, sent = [], []
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages[-1]["more_body"] = False

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return await send({"type": "http.response.start", "status": 499})
            read.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200})

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    asyncio.run(Guard(app, folder)(scope, receive, send))
    return sent[0]["status"], b"".join(read)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/"), ("HEAD", "/"), ("GET", "/config"), ("GET", "/assets/index.js"), ("POST", "/gradio_api/cancel")),
        *(("GET", "/gradio_api/queue/data"), ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/file=/tmp/x.wav")),
    ],
)
def test_what_the_page_needs_passes(tmp_path, method, path):
    assert ask(tmp_path, method, path)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/gradio_api/run/transcribe", "/gradio_api/api/transcribe", "/gradio_api/call/transcribe", "/run/transcribe"),
        *("/gradio_api/process_recording", "/gradio_api/component_server", "/gradio_api/vibe-edit", "/monitoring"),
        *("/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/stream/x", "/gradio_api/openapi.json", "/login", "/docs"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_other_addresses_of_gradio_do_not_exist(tmp_path, method, path):
    assert ask(tmp_path, method, path)[0] == 404


@pytest.mark.parametrize(
    "path", ["file=http://127.0.0.1/", "file=https://x.org/a.wav", "file=FTP://x", "file=file:///etc"]
)
def test_no_file_of_another_server_is_fetched(tmp_path, path):
    assert ask(tmp_path, "GET", f"/gradio_api/{path}")[0] == 403


@pytest.mark.parametrize("address", ["queue/join", "run/predict"])
def test_a_recording_of_a_job_was_uploaded_here(tmp_path, address):
    def join(content) -> int:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return ask(tmp_path, "POST", f"/gradio_api/{address}", [body[:10], body[10:]])[0]

    ours = {"path": "/tmp/a.wav", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/a.wav", "meta": {}}
    assert join({"data": [ours, "gl", False]}) == 200, "a browser names the address of the page"
    for path in ("http://169.254.169.254/latest", "https://x.org/big.wav", "file:///etc/passwd"):
        assert join({"data": [ours | {"path": path}, "gl", False]}) == 400
        assert join({"data": [[{"a": [ours | {"path": path}]}]]}) == 400
    for broken in (b"", b"{", b"[" * 100_000, b"\xff\xfe", b'{"data": [' * 50_000):
        assert join(broken) == 400


def test_a_body_passes_as_it_came(tmp_path):
    body = json.dumps({"data": [None, "gl", False], "fn_index": 0}).encode()
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", [body[:7], b"", body[7:]]) == (200, body)


def test_no_request_is_larger_than_it_may_be(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_limits, "MAX_UPLOAD", 1000)
    monkeypatch.setattr(demo_limits, "MAX_REQUEST", 500)
    upload = "/gradio_api/upload"
    assert ask(tmp_path, "POST", upload, [b"x" * 700] * 2)[0] == 200
    assert ask(tmp_path, "POST", upload, headers=[(b"content-length", b"1501")])[0] == 413, "before any of it is read"
    status, read = ask(tmp_path, "POST", upload, [b"x" * 700] * 50, headers=[(b"content-length", b"10")])
    assert status == 499 and len(read) <= 1500, "a wrong length or none helps nobody"
    assert ask(tmp_path, "POST", "/gradio_api/queue/join", [b'{"a": "' + b"x" * 600, b'"}'])[0] == 413
    assert ask(tmp_path, "POST", "/gradio_api/reset", [b"x" * 600])[0] == 499
    assert ask(tmp_path, "POST", upload, headers=[(b"content-length", b"-5")])[0] == 413


def test_visitors_cannot_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_limits, "MAX_FOLDER", 1000)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/clip.wav").write_bytes(b"x" * 1001)
    assert ask(tmp_path, "POST", "/gradio_api/upload")[0] == 503
    assert ask(tmp_path, "GET", "/")[0] == 200
    (tmp_path / "a/clip.wav").unlink()
    assert ask(tmp_path, "POST", "/gradio_api/upload")[0] == 200


def test_a_small_file_that_unfolds_to_hours_is_refused_before_it_fills_the_memory(tmp_path):
    bomb = tmp_path / "bomb.flac"
    with soundfile.SoundFile(bomb, "w", 48_000, 2) as file:
        for _ in range(20):
            file.write(np.zeros((480_000, 2), dtype="int16"))
    assert bomb.stat().st_size < 200_000
    with pytest.raises(TooLongError, match="longer than 3 minutes"):
        check_length(bomb, minutes=3)
    check_length(bomb, minutes=4)


@pytest.mark.parametrize("rate", [1, 8000, 2_000_000])
def test_length_is_of_samples_whatever_the_rate_says(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", np.zeros((2_000_000, 4), dtype="int16"), rate)
    if rate == 2_000_000:
        check_length(tmp_path / "a.wav", minutes=2)
    with pytest.raises(TooLongError):
        check_length(tmp_path / "a.wav", minutes=1)


def test_what_is_no_audio_is_said_without_a_path(tmp_path):
    (tmp_path / "broken.wav").write_text("no audio")
    for path in (tmp_path / "broken.wav", tmp_path / "absent.wav", tmp_path):
        with pytest.raises(ValueError, match="The recording is not readable audio") as error:
            check_length(path)
        assert str(tmp_path) not in str(error.value)


def test_a_transcription_that_takes_too_long_ends_and_the_next_one_is_as_ever(whisper_dir, processor):
    model = load(whisper_dir, languages=["gl"]).eval()
    samples = np.sin(np.arange(16_000 * 3) / 5).astype("float32")
    before = transcribe_side_by_side(model, processor, samples, "gl")
    begun = time.monotonic()
    with pytest.raises(TooLongError, match="more than 0 minutes"):
        transcribe_side_by_side(model, processor, samples, "gl", stopping_criteria=[Deadline(0)])
    assert time.monotonic() - begun < 10
    after = transcribe_side_by_side(model, processor, samples, "gl", stopping_criteria=[Deadline(5)])
    assert (after.plain, after.experts) == (before.plain, before.experts), "no gate stayed closed"


def test_a_long_recording_ends_with_its_time_too(whisper_dir, processor):
    """Each window was tried, and tried again alone, after the time had ended."""
    model = load(whisper_dir, languages=["gl"]).eval()
    passes = []
    model.get_encoder().register_forward_hook(lambda module, given, output: passes.append(len(output[0])))
    samples = np.sin(np.arange(16_000 * 60) / 5).astype("float32")  # 30 windows of this tiny model
    with pytest.raises(TooLongError):
        transcribe_side_by_side(model, processor, samples, "gl", stopping_criteria=[Deadline(0)])
    assert passes == [8, 1], "a batch, and the first of its windows alone"
