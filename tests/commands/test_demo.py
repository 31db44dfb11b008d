"""The page in a real browser: what it shows is what the library says, and it asks nobody else for anything.

pip install -e ".[examples,demo,test]" && apt-get install chromium chromium-driver && pytest -m browser
"""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import demo, speech, tiny
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.audio import read_audio
from modeling_distilwhisper.transcription.segments import Dropped, Segment, Transcript
from modeling_distilwhisper.transcription.side_by_side import Gates, changed_words, transcribe_side_by_side
from modeling_distilwhisper.transcription.subtitles import to_srt

pytestmark = pytest.mark.browser
WIDE, NARROW = (1280, 900), (375, 812)
SECONDS = 60  # to wait for anything on the page


@pytest.fixture(scope="module")
def folder(whisper_dir, processor, tmp_path_factory):
    return demo.write_files(tmp_path_factory.mktemp("demo"), whisper_dir, processor)


@pytest.fixture(scope="module")
def url(folder):
    """Where the page is served, by the script as people start it."""
    with demo.serve(folder) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser(folder):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    flags = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "disable-background-networking")
    fake_microphone = ("use-fake-device-for-media-stream", "use-fake-ui-for-media-stream")
    for flag in (*flags, *fake_microphone):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    downloads = {"behavior": "allow", "downloadPath": str(folder / "downloads")}
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", downloads)
    yield driver
    driver.quit()


class Page:
    """The page as a person uses it."""

    def __init__(self, browser, url: str):
        self.browser, self.url = browser, url
        self.resize(WIDE)
        browser.get(url)
        self.wait_for("#audio input[type=file]")

    def resize(self, size: tuple[int, int]) -> None:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == NARROW}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def wait_for(self, selector: str, has=lambda element: True):
        def found(browser):
            return next((one for one in browser.find_elements(By.CSS_SELECTOR, selector) if has(one)), None)

        return WebDriverWait(self.browser, SECONDS).until(found, f"nothing that fits {selector}")

    def click(self, selector: str, has=lambda element: True) -> None:
        """Where it is by then: what is above may still be growing."""
        element = self.wait_for(selector, has)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def upload(self, path) -> None:
        self.wait_for("#audio input[type=file]").send_keys(str(path))
        self.wait_for("#audio [aria-label='Clear']")

    def choose(self, language: str) -> None:
        self.click("#language input")
        self.click("[role=option]", lambda option: option.text.strip().endswith(language))

    def transcribe(self) -> None:
        self.click("#transcribe")

    def text(self, name: str) -> str:
        return self.wait_for(f"#{name}", lambda element: element.text.strip()).text

    def messages(self) -> list[str]:
        """Errors on the console since the page was opened, or since they were asked for."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """Whom the browser asked for something."""
        events = [json.loads(entry["message"])["message"] for entry in self.browser.get_log("performance")]
        urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return {re.sub(r"^(\w+://[^/]+).*", r"\1", one) for one in urls if one.startswith(("http", "ws"))}


@pytest.fixture
def page(browser, url):
    return Page(browser, url)


def expected(folder, clip: str | Path, language: str | None = None):
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder / "model").eval()
    processor = tiny.WhisperProcessor.from_pretrained(folder / "model")
    return transcribe_side_by_side(model, processor, read_audio(folder / f"{clip}.wav"), language)


def squeezed(text: str) -> str:
    return "".join(text.split())


def test_a_clip_is_uploaded_and_both_transcripts_are_read(page, folder, url):
    found = expected(folder, "short & <b>clip", "gl")
    page.upload(folder / "short & <b>clip.wav")
    page.choose("Galician, with experts")
    page.transcribe()
    plain, experts = changed_words(found.plain, found.experts)
    for name, transcript, words in (("plain", found.plain, plain), ("experts", found.experts, experts)):
        assert squeezed(page.text(name)) == squeezed(transcript.text), "letter by letter"
        marks = [mark.text for mark in page.browser.find_elements(By.CSS_SELECTOR, f"#{name} mark")]
        assert list(map(squeezed, marks)) == [squeezed(word) for word, changed in words if changed]
    assert found.plain.text != found.experts.text and any(changed for _, changed in experts)
    assert page.text("summary").startswith("Galician, 1.0 s of audio")

    picture = page.wait_for("#picture img")
    WebDriverWait(page.browser, SECONDS).until(lambda browser: picture.get_property("naturalWidth") > 500)
    layers = page.browser.find_elements(By.CSS_SELECTOR, "#words i")
    colours = [one.value_of_css_property("background-color") for one in layers]
    blue = [float(re.findall(r"[\d.]+", colour)[-1]) for colour in colours]
    assert np.allclose(blue, found.gates.word_usage.T.flatten(), atol=0.006), (
        "as blue as the share that took the expert"
    )
    assert squeezed(page.text("words")) == squeezed("".join(found.gates.words))
    rows = [row.text for row in page.browser.find_elements(By.CSS_SELECTOR, "#segments tr")]
    spoken = [f"{one.start:.2f} to {one.end:.2f} s {one.text}" for one in found.experts.segments]
    assert [squeezed(row) for row in rows] == [squeezed(row) for row in spoken] != []

    page.click("#download")
    wait = WebDriverWait(page.browser, SECONDS)
    (downloaded,) = wait.until(lambda browser: list((folder / "downloads").glob("short*clip.srt")))
    assert downloaded.read_text(encoding="utf-8") == to_srt(found.experts)
    assert page.messages() == []
    assert page.hosts() == {url}, "with the browser's cache empty, it asked nobody else"


def test_a_transcript_is_never_markup():
    from modeling_distilwhisper.commands import demo_page  # it needs the extra "demo"

    text = "<b>&"
    transcript = Transcript("gl", 1.0, [Segment(0.0, 1.0, text)], [Dropped(1.0, 2.0, text, text)])
    gates = Gates(np.ones((1, 50)), [text], np.ones((1, 1)))
    shown = demo_page.marked([(text, True), (text, False)]), demo_page.over_words(gates), demo_page.table(transcript)
    assert all("<b>" not in html and "&lt;b&gt;&amp;" in html for html in shown)
    assert shown[2].count("&lt;b&gt;&amp;") == 3, "the text, what was left out of it, and why"


def test_a_long_clip_in_a_detected_language_has_times(page, folder):
    found = expected(folder, "long")
    page.click("button", lambda button: button.text == "long.wav")
    page.wait_for("#audio [aria-label='Clear']")
    page.transcribe()
    assert squeezed(page.text("plain")) == squeezed(found.plain.text)
    assert squeezed(page.text("experts")) == squeezed(found.experts.text)
    assert "(detected)" in page.text("summary")
    rows = page.browser.find_elements(By.CSS_SELECTOR, "#segments tr")
    assert len(rows) == len(found.experts.segments) > 1
    assert page.messages() == []


def test_what_the_microphone_hears_is_transcribed(page):
    page.click("#audio [aria-label='Record audio']")
    page.click("#audio .record-button")
    time.sleep(1.5)
    page.click("#audio .stop-button")
    page.wait_for("#audio [aria-label='Clear']")
    page.choose("Catalan, with experts")
    page.transcribe()
    assert re.match(r"Catalan, [1-9]\.\d s of audio", page.text("summary"))
    assert page.text("plain") and page.text("experts")
    assert page.messages() == []


def test_what_is_wrong_is_said_and_the_page_goes_on(page, folder):
    page.transcribe()
    page.wait_for(".toast-body", lambda toast: "Upload or record something first." in toast.text)
    page.upload(folder / "broken.wav")
    page.transcribe()
    page.wait_for(".toast-body", lambda toast: "is not readable audio" in toast.text)


def test_of_what_visitors_said_nothing_stays_but_gradios_own_copies(url, folder, tmp_path):
    from gradio_client import Client, handle_file  # of the extra: the default tests collect this file without it

    client = Client(url, download_files=tmp_path / "got", verbose=False)

    def files(place: str, *endings: str) -> set[Path]:
        return {path for path in (folder / place).rglob("*") if path.is_file() and path.suffix in endings}

    before, made, said = files("temp", ".png", ".srt"), {}, {}
    for name, pitch in {"one": 350, "two": 450, "---": 650}.items():
        clip = tmp_path / f"{name}.wav"
        speech.soundfile.write(clip, speech.tone(pitch), speech.RATE)
        *_, subtitles = client.predict(handle_file(clip), "gl", api_name="/transcribe")
        made[Path(subtitles).name] = Path(subtitles).read_text(encoding="utf-8")
        said[Path(subtitles).name] = to_srt(expected(folder, clip.with_suffix(""), "gl").experts)
    assert list(made) == ["one.srt", "two.srt", "recording.srt"], "a name of which nothing is left is no error"
    assert made == said and any("-->" in text for text in made.values())
    kept = files("temp", ".png", ".srt") - before
    assert sorted(path.suffix for path in kept) == 3 * [".png"] + 3 * [".srt"], "where Gradio clears them"
    assert not files("scratch", ".png", ".srt", ".wav"), "and nowhere else"


def test_on_a_phone_nothing_is_cut_off(page, folder):
    page.resize(NARROW)
    page.upload(folder / "long.wav")
    page.transcribe()
    page.text("words")
    assert page.browser.execute_script("return document.documentElement.scrollWidth") <= NARROW[0]
    where = {name: page.wait_for(f"#{name}").rect for name in ("plain", "experts", "picture", "words", "segments")}
    right = "return [...document.querySelectorAll(arguments[0])].map(one => one.getBoundingClientRect().right)"
    edges = page.browser.execute_script(right, ", ".join(f"#{name} *" for name in where))
    assert len(edges) > 20 and max(edges) <= NARROW[0]
    assert where["experts"]["y"] >= where["plain"]["y"] + where["plain"]["height"], "under, not beside each other"
    assert where["words"]["y"] >= where["picture"]["y"] + where["picture"]["height"]
    page.resize(WIDE)
    assert page.wait_for("#experts").rect["y"] == page.wait_for("#plain").rect["y"]
