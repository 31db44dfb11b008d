"""A hostile visitor of the real page, over HTTP on this machine: needs the extra "demo", as test_demo.py does."""

import json
import socket
import threading
import time

import numpy as np
import pytest
from helpers import demo, speech

pytestmark = pytest.mark.browser
httpx = pytest.importorskip("httpx")


@pytest.fixture(scope="module")
def folder(whisper_dir, processor, tmp_path_factory):
    return demo.write_files(tmp_path_factory.mktemp("visitors"), whisper_dir, processor)


@pytest.fixture(scope="module")
def page(folder):
    with demo.serve(folder) as (address, _):
        yield httpx.Client(base_url=address, timeout=120)


def upload(page, name: str, content: bytes):
    return page.post("/gradio_api/upload", files={"files": (name, content)})


def transcribe(page, path: str | None, session: str = "s", wait: bool = True) -> dict:
    """What the page answers: the last message of the job."""
    recording = path and {"path": path, "meta": {"_type": "gradio.FileData"}}
    (job,) = [one for one in page.get("/config").json()["dependencies"] if one["api_name"] == "transcribe"]
    content = {"data": [recording, "gl"], "fn_index": job["id"], "session_hash": session}
    answer = page.post("/gradio_api/queue/join", json=content)
    if answer.status_code != 200 or not wait:
        return {"status": answer.status_code, **(answer.json() if "json" in answer.headers["content-type"] else {})}
    with page.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as lines:
        for line in lines.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("no answer")


def clip(folder, seconds: float = 1.0) -> bytes:
    path = folder / "visitor.wav"
    speech.soundfile.write(path, np.resize(speech.tone(400), int(16_000 * seconds)), 16_000)
    return path.read_bytes()


def test_a_clip_is_transcribed_with_the_limits_in_place(page, folder):
    (path,) = upload(page, "clip.wav", clip(folder)).json()
    answer = transcribe(page, path)
    assert answer["success"], answer
    assert "1.0 s of audio" in json.dumps(answer["output"])


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd"),
        *("{folder}/model/config.json", "{folder}/broken.wav", "{folder}/log.txt", "{temp}/../log.txt", "setup.cfg"),
        *("/proc/self/environ", "/dev/zero", "//etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "{temp}", ""),
    ],
)
def test_no_file_is_served_but_those_of_visitors(page, folder, path):
    temp = next((folder / "temp").iterdir())
    path = path.format(folder=folder, temp=temp)
    for answer in (
        page.get(f"/gradio_api/file={path}"),
        page.get(f"/gradio_api/file/{path}"),
        page.get(f"/assets/{path}"),
    ):
        assert answer.status_code in (307, 400, 403, 404, 422), (answer.status_code, answer.text[:200])
        assert "root:" not in answer.text and "gate_budget" not in answer.text


@pytest.mark.parametrize("path", ["/etc/passwd", "{folder}/long.wav", "{folder}/broken.wav", "{folder}/absent.wav"])
def test_a_file_of_the_server_is_not_transcribed(page, folder, path):
    answer = transcribe(page, path.format(folder=folder))
    assert not answer["success"] and not answer["output"].get("error")
    assert "Traceback" not in json.dumps(answer) and "root:" not in json.dumps(answer)


@pytest.mark.parametrize("path", ["http://127.0.0.1:1/a.wav", "https://example.org/a.wav", "file:///etc/passwd"])
def test_a_file_of_another_server_is_not_fetched(page, path):
    assert transcribe(page, path)["status"] == 400


@pytest.mark.parametrize(
    "name",
    ["../../../evil.wav", "/etc/evil.wav", "..\\..\\evil.wav", "a\x00b.wav", "x" * 300 + ".wav", ".hidden", "<b>.html"],
)
def test_an_uploaded_file_stays_in_the_folder_of_the_page(page, folder, name):
    answer = upload(page, name, b"<script>alert(1)</script>")
    if answer.status_code == 200:
        (path,) = answer.json()
        assert path.startswith(str(folder / "temp")) and ".." not in path.split("/")
        served = page.get(f"/gradio_api/file={path}")
        if served.status_code == 200:
            kind, place = served.headers["content-type"], served.headers["content-disposition"]
            assert kind.startswith("audio/") or place.startswith("attachment")
    assert not list(folder.parent.glob("evil*")) and not list(folder.glob("evil*"))
    assert page.get("/").status_code == 200


@pytest.mark.parametrize(
    "content", [b"", b"no audio", b"RIFF\xff\xff\xff\xffWAVEfmt ", b"fLaC" + bytes(100), b"ID3" * 50]
)
def test_an_error_names_no_path_of_the_server(page, folder, content):
    (path,) = upload(page, "my clip.wav", content).json()
    answer = transcribe(page, path)
    assert not answer["success"]
    text = json.dumps(answer["output"])
    assert "recording" in text.lower() and str(folder) not in text and "Traceback" not in text
    assert "/" not in answer["output"]["error"]


def test_a_recording_that_unfolds_to_hours_is_refused(page, folder):
    bomb = folder / "bomb.flac"
    with speech.soundfile.SoundFile(bomb, "w", 16_000, 1) as file:
        for _ in range(30):
            file.write(np.zeros(16_000 * 60, dtype="int16"))
    (path,) = upload(page, "bomb.flac", bomb.read_bytes()).json()
    assert "longer than 20 minutes" in transcribe(page, path)["output"]["error"]


def test_an_upload_beyond_the_limit_leaves_nothing(page, folder):
    def files() -> int:
        return sum(path.is_file() for place in ("temp", "scratch") for path in (folder / place).rglob("*"))

    before = files()
    parts = (b"\r\n".join([b"--x", b'Content-Disposition: form-data; name="files"; filename="a.wav"', b"", b""]),)
    endless = (part for source in (parts, (bytes(2**20) for _ in range(110))) for part in source)
    multipart = {"headers": {"content-type": "multipart/form-data; boundary=x"}}
    for sent in ({"files": {"files": ("big.wav", bytes(102 * 2**20))}}, {"content": endless, **multipart}):
        try:
            assert page.post("/gradio_api/upload", **sent).status_code >= 400
        except httpx.HTTPError:
            continue  # the connection was closed
    host, port = page.base_url.host, page.base_url.port
    with socket.create_connection((host, port)) as gone:  # a visitor who leaves in the middle
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100000\r\n"
        gone.sendall(head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + parts[0] + bytes(5000))
    deadline = time.monotonic() + 20
    while files() > before and time.monotonic() < deadline:
        time.sleep(0.2)
    assert files() == before
    assert page.get("/").status_code == 200


def test_the_queue_has_an_end(page, folder):
    (path,) = upload(page, "long.wav", clip(folder, seconds=60)).json()
    answers: list[dict] = []

    def join(number: int) -> None:
        answers.append(transcribe(page, path, session=f"many {number}", wait=False))

    threads = [threading.Thread(target=join, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    full = [answer for answer in answers if answer["status"] == 503]
    assert full and "Queue is full" in json.dumps(full[0])
    assert len(answers) - len(full) <= 20 + 5, "20 wait, some were done meanwhile"


@pytest.mark.parametrize("path", ["run/transcribe", "api/transcribe", "call/transcribe", "process_recording"])
def test_there_is_no_way_past_the_queue(page, path):
    assert page.post(f"/gradio_api/{path}", json={"data": [None, "gl"]}).status_code == 404


def test_a_transcription_is_not_run_by_the_address_that_needs_no_queue(page):
    """Gradio puts an example into the page by it."""
    for job in page.get("/config").json()["dependencies"]:
        if job["queue"]:
            content = {"data": [None, "gl"], "fn_index": job["id"], "session_hash": "past"}
            assert page.post("/gradio_api/run/predict", json=content).status_code == 404
    jobs = [job["api_name"] for job in page.get("/config").json()["dependencies"] if job["queue"]]
    assert "transcribe" in jobs


def test_nothing_of_visitors_is_left_when_the_page_ends(whisper_dir, processor, tmp_path):
    folder = demo.write_files(tmp_path, whisper_dir, processor)
    with demo.serve(folder) as (address, process):
        page = httpx.Client(base_url=address, timeout=60)
        (path,) = upload(page, "clip.wav", clip(folder)).json()
        assert transcribe(page, path)["success"]
        assert any(one.is_file() for one in (folder / "temp").rglob("*"))
        page.close()
        process.terminate()
        process.wait(demo.END)
    left = [path for place in ("temp", "scratch") for path in (folder / place).rglob("*") if path.is_file()]
    assert not [path for path in left if path.suffix in (".wav", ".srt", ".png")], left
    assert list((folder / "temp").iterdir()) == []
