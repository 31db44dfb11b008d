"""OpenAI's audio API over a tiny model in this process: formats, names of models, and errors for programs."""

import asyncio
import io
import json
import subprocess

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="needs the extra `serve`")
pytest.importorskip("python_multipart", reason="needs the extra `serve`")
from helpers.serving import NAME, encoded, make_api, transcript_alone, wav
from helpers.speech import clip
from starlette.testclient import TestClient

from modeling_distilwhisper.transcription.subtitles import to_srt, to_vtt

TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"
FORM = {"model": NAME, "language": "gl"}


@pytest.fixture(scope="session")
def shared_engine(places):
    from helpers.serving import make_engine

    return make_engine(places)


@pytest.fixture
def api(shared_engine):
    return make_api(shared_engine)[0]


@pytest.fixture
def client(api):
    return TestClient(api.app(), raise_server_exceptions=False)


def ask(client, form=(), content=None, address=TRANSCRIPTIONS, name="a.wav", **settings):
    content = wav() if content is None else content
    return client.post(address, data={**FORM, **dict(form)}, files={"file": (name, content)}, **settings)


def error_of(response, status: int) -> dict:
    assert response.status_code == status, response.text
    content = response.json()
    assert content.keys() == {"error"} and content["error"].keys() == {"message", "type", "param", "code"}
    assert "/tmp" not in response.text and "site-packages" not in response.text
    return content["error"]


def expected(engine, content, language="gl", **settings):
    from modeling_distilwhisper import read_audio

    engine.experts.load([language] if language in engine.experts.sources else [])
    return transcript_alone(engine.model, engine.processor, read_audio(content), language, **settings)


def test_each_format_holds_what_generate_says(client, shared_engine):
    content = wav(1.5)
    plain = expected(shared_engine, content)
    assert plain.text
    assert ask(client, content=content).json() == {"text": plain.text, "usage": {"type": "duration", "seconds": 2}}
    texts = {name: ask(client, {"response_format": name}, content) for name in ("text", "srt", "vtt")}
    assert texts["text"].text == plain.text + "\n"
    assert texts["srt"].text == to_srt(plain) and texts["vtt"].text == to_vtt(plain)
    assert all(response.headers["content-type"].startswith("text/plain") for response in texts.values())
    verbose = ask(client, {"response_format": "verbose_json"}, content).json()
    assert (verbose["task"], verbose["language"], verbose["duration"]) == ("transcribe", "galician", 1.5)
    assert verbose["text"] == plain.text
    assert [(one["start"], one["end"], one["text"]) for one in verbose["segments"]] == [
        (one.start, one.end, one.text) for one in plain.segments
    ]
    for one, segment in zip(verbose["segments"], plain.segments, strict=True):
        assert one["no_speech_prob"] == pytest.approx(segment.no_speech_prob, abs=1e-3), "what editors filter by"
        assert one["compression_ratio"] > 0 and one["temperature"] == 0


def test_a_translation_runs_the_other_task(client, shared_engine):
    content = wav(1.2, 700)
    translated = ask(client, content=content, address=TRANSLATIONS).json()["text"]
    assert translated == expected(shared_engine, content, task="translate").text
    assert translated != ask(client, content=content).json()["text"]


def test_a_long_recording_is_transcribed_window_by_window_with_its_own_times(client, shared_engine):
    samples = np.concatenate([clip(2.0, 300), np.zeros(32_000, np.float32), clip(1.5, 800)])
    content = encoded(samples, "WAV")
    first, last = (expected(shared_engine, encoded(part, "WAV")) for part in (samples[:32_000], samples[64_000:]))
    verbose = ask(client, {"response_format": "verbose_json"}, content).json()
    times = [(one["start"], one["end"], one["text"]) for one in verbose["segments"]]
    assert times == [(one.start, one.end, one.text) for one in first.segments] + [
        (one.start + 4, one.end + 4, one.text) for one in last.segments
    ]
    assert verbose["duration"] == 5.5


def test_a_stream_has_each_window_as_it_comes_and_then_the_text(client):
    content = wav(5)
    complete = ask(client, content=content).json()["text"]
    response = ask(client, {"stream": "true"}, content)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.splitlines() if line[:5] == "data:"]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 3 + ["transcript.text.done"]
    assert "".join(event["delta"] for event in events[:-1]) == events[-1]["text"] == complete


def test_the_language_is_detected_or_given_by_name_code_or_model(client, shared_engine):
    content = wav(1.3, 650)
    in_galician = ask(client, content=content).json()
    for form in ({"language": "Galician"}, {"language": "gl-ES"}, {"model": f"{NAME}:gl", "language": ""}):
        assert ask(client, form, content).json() == in_galician, form
    detected = transcript_alone(shared_engine.model, shared_engine.processor, clip(1.3, 650), None).language
    verbose = ask(client, {"language": "", "response_format": "verbose_json"}, content).json()
    from modeling_distilwhisper.runs.language_codes import language_code

    assert language_code(verbose["language"]) == detected
    error = error_of(ask(client, {"model": f"{NAME}:gl", "language": "ca"}, content), 400)
    assert error["param"] == "language" and "tiny:gl has the experts of 'gl'" in error["message"]


def test_silence_has_no_words(client, shared_engine):
    silence = encoded(np.zeros(80_000), "WAV")
    assert ask(client, content=silence).json()["text"] == ""
    verbose = ask(client, {"language": "", "response_format": "verbose_json"}, silence).json()
    assert (verbose["language"], verbose["segments"], verbose["text"]) == ("und", [], "")
    assert ask(client, {"response_format": "vtt"}, silence).text.startswith("WEBVTT")


def test_models_are_the_model_and_each_language_with_experts(client):
    listed = client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tiny", "tiny:ca", "tiny:fr", "tiny:gl", "tiny:ru"]
    assert client.get("/v1/models/tiny:ru").json() == listed["data"][4]
    assert error_of(client.get("/v1/models/a/b"), 404)["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("form", "status", "param"),
    [
        ({"model": ""}, 400, "model"),
        ({"model": "whisper-1"}, 404, "model"),
        ({"model": "../../etc/passwd"}, 404, "model"),
        ({"language": "xx"}, 400, "language"),
        ({"language": "German"}, 400, "language"),  # Whisper's, but not of this model
        ({"language": "../gl"}, 400, "language"),
        ({"response_format": "diarized_json"}, 400, "response_format"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"temperature": "-1"}, 400, "temperature"),
        ({"temperature": "nan"}, 400, "temperature"),
        ({"stream": "true", "response_format": "srt"}, 400, "stream"),
        ({"stream": "perhaps"}, 400, "stream"),
        ({"timestamp_granularities[]": "word"}, 400, "timestamp_granularities"),
        ({"timestamp_granularities[]": "letter", "response_format": "verbose_json"}, 400, "timestamp_granularities"),
        ({"prompt": "<|startoftranscript|>"}, 400, "prompt"),
        ({"prompt": "x" * 20_000}, 400, None),
        ({"include[]": "logprobs"}, 400, "include"),
        ({"beam_size": "5"}, 400, "beam_size"),
        ({f"field{number}": "x" for number in range(40)}, 400, None),
    ],
)
def test_a_wrong_field_is_named(client, form, status, param):
    error = error_of(ask(client, form), status)
    assert error["param"] == param and error["type"] == "invalid_request_error" and error["message"]


def test_a_request_without_a_form_or_with_two_files_is_told_what_is_missing(client):
    assert error_of(client.post(TRANSCRIPTIONS, json=FORM), 400)["param"] == "file"
    assert error_of(client.post(TRANSCRIPTIONS, data=FORM), 400)["param"] == "file"
    assert error_of(client.post(TRANSCRIPTIONS, data={**FORM, "file": "talk.wav"}), 400)["param"] == "file"
    two = [("file", ("a.wav", wav())), ("file", ("b.wav", wav()))]
    error_of(client.post(TRANSCRIPTIONS, data=FORM, files=two), 400)
    as_field = {"file": ("a.wav", wav()), "language": ("language.txt", b"gl")}
    error_of(client.post(TRANSCRIPTIONS, data={"model": NAME}, files=as_field), 400)
    cut = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    for boundary in ("multipart/form-data; boundary=x", "multipart/form-data"):
        error_of(client.post(TRANSCRIPTIONS, content=cut, headers={"content-type": boundary}), 400)


def test_what_is_no_recording_is_refused_without_a_word_about_the_server(client):
    flac = encoded(clip(1.0), "FLAC")
    contents = {
        "empty": b"",
        "text": b"not audio at all" * 100,
        "cut": flac[: len(flac) // 2],
        "nothing in it": encoded(np.zeros(0), "WAV"),
        "a playlist": b"#EXTM3U\n/etc/passwd\n",
        "html": b"<html>" * 1000,
    }
    for name, content in contents.items():
        error = error_of(ask(client, content=content), 400)
        assert error["param"] == "file" and error["code"] == "invalid_audio", name


def test_names_of_files_decide_nothing(client):
    text = ask(client).json()["text"]
    for name in (
        "../../../etc/passwd",
        "C:\\x\\a.mp3",
        "a\x00b.wav",
        "-i",
        "http://example.org/a.wav",
        "x" * 2000,
        "é",
    ):
        assert ask(client, name=name).json()["text"] == text, name
    error_of(ask(client, name="x" * 50_000), 400)


def test_hours_of_silence_in_a_small_file_are_refused_while_they_are_decoded(client):
    command = "ffmpeg -loglevel error -f lavfi -i anullsrc=r=8000:cl=mono -t 1800 -c:a flac -f flac pipe:1"
    try:
        small = subprocess.run(command.split(), capture_output=True, check=True).stdout
    except FileNotFoundError:
        small = encoded(np.zeros(8000 * 1800, np.int16), "FLAC", 8000)
    assert len(small) < 2**20
    error = error_of(ask(client, content=small), 400)
    assert "minutes, expected at most 1" in error["message"]


def test_addresses_and_methods_that_are_not_there_answer_in_the_same_form(client):
    assert error_of(client.get("/v1/chat/completions"), 404)["code"] == "not_found"
    assert error_of(client.get(TRANSCRIPTIONS), 405)["code"] == "method_not_allowed"
    error_of(client.get("/" + "x" * 3000), 404)


def test_a_key_is_asked_for_where_one_is_set(shared_engine):
    api, lines = make_api(shared_engine, key="secret-é")
    client = TestClient(api.app())
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic secret-é".encode()}):
        for response in (ask(client, headers=headers), client.get("/v1/models", headers=headers)):
            assert error_of(response, 401)["code"] == "invalid_api_key"
    right = {"authorization": "Bearer secret-é".encode()}
    assert ask(client, headers=right).status_code == client.get("/v1/models", headers=right).status_code == 200
    assert client.get("/health").status_code == client.get("/ready").status_code == 200
    assert "secret" not in client.get("/metrics").text + str(lines)


def test_failures_of_the_model_are_errors_of_the_server_whose_reason_only_its_log_has(places, shared_engine, tmp_path):
    from helpers.serving import make_engine

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "expert.ru.safetensors").write_bytes(b"nothing")
    api, lines = make_api(make_engine((places[0], damaged)))
    client = TestClient(api.app(), raise_server_exceptions=False)
    for form in ({"language": "ru"}, {"model": f"{NAME}:ru", "language": ""}):
        error = error_of(ask(client, form), 500)
        assert error["type"] == "server_error" and error["message"] == "The experts of 'ru' cannot be loaded."
    assert str(damaged) in lines[0]
    assert ask(client).status_code == 200
    events = ask(client, {"language": "ru", "stream": "true"}).text
    assert json.loads(events.removeprefix("data: "))["error"]["message"] == "The experts of 'ru' cannot be loaded."

    async def broken(item):
        raise RuntimeError(f"a bug at {tmp_path}")

    api, _ = make_api(shared_engine, call=broken)
    client = TestClient(api.app(), raise_server_exceptions=False)
    assert error_of(ask(client), 500)["code"] == "internal_error"
    assert '"The server failed. Its log says why."' in ask(client, {"stream": "true"}).text
    assert 'status="500"} 2.0' in client.get("/metrics").text and api.places.taken == 0


def test_metrics_count_requests_audio_batches_and_places(client):
    ask(client, content=wav(5))
    ask(client, {"language": "xx"})
    ask(client, {"language": 'evil"}\n'})
    text = client.get("/metrics").text
    assert f'distilwhisper_requests_total{{endpoint="{TRANSCRIPTIONS}",language="gl",status="200"}} 1.0' in text
    assert f'distilwhisper_requests_total{{endpoint="{TRANSCRIPTIONS}",language="",status="400"}} 2.0' in text
    assert 'distilwhisper_audio_seconds_total{language="gl"} 5.0' in text
    assert "distilwhisper_batch_windows_count 3.0" in text and "distilwhisper_requests_in_progress 0.0" in text
    assert 'distilwhisper_request_seconds_count{language="gl"} 1.0' in text and "evil" not in text


def test_a_client_that_hangs_up_frees_its_place_at_every_step(shared_engine):
    reached, held = asyncio.Event(), []

    async def never(item):
        reached.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            held.append(item)
            raise

    form = {**FORM}
    request = TestClient(None).build_request("POST", TRANSCRIPTIONS, data=form, files={"file": ("a.wav", wav(3))})
    content = request.read()
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]

    async def hang_up(messages, after) -> int:
        api, _ = make_api(shared_engine, call=never, requests=1)
        sent = []

        async def receive():
            if messages:
                return messages.pop(0)
            await after()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": TRANSCRIPTIONS, "headers": headers, "query_string": b""}
        await asyncio.wait_for(api.app()(scope | {"asgi": {"spec_version": "2.3"}}, receive, send), 20)
        assert api.places.taken == 0 and api.memory.used == 0
        assert 'status="499"} 1.0' in api.metrics.text().decode()
        return len(held)

    async def at_once():
        return None

    message = {"type": "http.request", "body": content, "more_body": False}
    assert asyncio.run(hang_up([{**message, "body": content[:5000], "more_body": True}], at_once)) == 0
    assert asyncio.run(hang_up([message], reached.wait)) == 2, "both windows are cancelled"
    streamed = TestClient(None).build_request(
        "POST", TRANSCRIPTIONS, data={**form, "stream": "true"}, files={"file": ("a.wav", wav(3))}
    )
    content = streamed.read()
    headers = [(name.lower().encode(), value.encode()) for name, value in streamed.headers.items()]
    reached, before = asyncio.Event(), len(held)
    assert asyncio.run(hang_up([{**message, "body": content}], reached.wait)) == before + 2


def test_a_file_object_of_the_upload_is_never_a_path(api):
    assert asyncio.run(api.recogniser.decode(io.BytesIO(wav()))).shape == (16_000,)
