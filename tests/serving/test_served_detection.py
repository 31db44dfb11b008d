"""A server that chooses among the languages that it was started for, and knows languages that Whisper does not."""

import shutil

import pytest
import torch
from helpers import serving, tiny
from helpers.speech import clip
from transformers import WhisperForConditionalGeneration

from modeling_distilwhisper import DistilWhisperForConditionalGeneration
from modeling_distilwhisper.data.features import speech_features
from modeling_distilwhisper.runs.any_whisper import load_processor
from modeling_distilwhisper.serving.engine import Engine
from modeling_distilwhisper.serving.items import DETECT, Item, Settings
from modeling_distilwhisper.transcription.window_batch import transcribe_windows, window_features

CLIPS = [clip(seconds, pitch) for seconds, pitch in ((1.0, 100), (1.9, 50), (2.0, 1200), (0.3, 300), (0.2, 5000))]
SOME = ["ga", "gl", "fr"]


@pytest.fixture(scope="module")
def complete(whisper_dir, processor):
    """All experts in one model: gl and ca, and gl-AO and ga, which Whisper has no token for. It hears gl, then ga."""
    torch.manual_seed(0)
    model = DistilWhisperForConditionalGeneration.from_whisper(whisper_dir, ["gl", "ca", "gl-AO", "ga"]).eval()
    tiny.unsettle(model)
    tiny.train_detection(model, ["gl", "ga"], speech_features(processor, CLIPS).input_features)
    model.generation_config.max_length = 24
    return model


@pytest.fixture(scope="module")
def folders(complete, whisper_dir, tmp_path_factory):
    """The model with gl and ca, and a folder with the experts of the new names."""
    folder = tmp_path_factory.mktemp("new-names")
    complete.save_pretrained(folder / "all")
    model = DistilWhisperForConditionalGeneration.from_pretrained(folder / "all", languages=["gl", "ca"])
    model.save_pretrained(folder / "tiny")
    load_processor(str(whisper_dir)).save_pretrained(folder / "tiny")
    (folder / "more").mkdir()
    for language in ("gl-AO", "ga"):
        shutil.copy(folder / f"all/expert.{language}.safetensors", folder / "more")
    return folder / "tiny", folder / "more"


def engine_of(folders, memory=10**9, **settings):
    return Engine(str(folders[0]), [str(folders[1])], memory, "float32", "cpu", **settings)


def detected(engine, clips=CLIPS):
    outcomes = engine.run([Item(samples, None, Settings(DETECT)) for samples in clips])
    assert not [outcome.detail for outcome in outcomes if outcome.error]
    return [outcome.language for outcome in outcomes]


def alone(model, processor, samples, **choice):
    return serving.transcript_alone(model, processor, samples, None, None, max_new_tokens=2, **choice).language


@pytest.mark.parametrize("candidates", [None, SOME])
def test_trained_detection_is_that_of_the_model_with_all_experts_in_memory(folders, complete, processor, candidates):
    """Here none is: a language whose experts are not loaded must be heard too, to be loaded then."""
    engine = engine_of(folders, candidate_languages=candidates, detection="trained")
    assert engine.model.config.languages == []
    found = detected(engine)
    choice = {"candidate_languages": candidates, "detection": "trained"}
    assert found == [alone(complete, processor, samples, **choice) for samples in CLIPS]
    assert found[:2] == ["gl", "ga"] and (candidates is None or {*found} <= {*SOME})
    engine.run([Item(CLIPS[1], "ga", Settings()), Item(CLIPS[1], "ca", Settings())])
    assert detected(engine) == found, "experts that were loaded meanwhile change nothing"
    assert [detected(engine, [samples]) for samples in CLIPS] == [[name] for name in found]


def test_candidates_never_give_another_language_and_without_them_it_is_whispers_own(folders, whisper_dir, processor):
    whisper = WhisperForConditionalGeneration.from_pretrained(whisper_dir).eval()
    own = [alone(whisper, processor, samples) for samples in CLIPS]
    assert detected(engine_of(folders)) == own
    assert detected(engine_of(folders, candidate_languages=list(tiny.LANGUAGES))) == own
    assert {*detected(engine_of(folders, candidate_languages=["en", "fr"]))} == {"en", "fr"}
    assert {*detected(engine_of(folders, candidate_languages=["experts"]))} <= {"gl", "ca"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidate_languages": ["gl", "ga"]}, "ga cannot be detected. Expected some of ca, en, fr, gl, ru"),
        ({"candidate_languages": ["gl-AO"], "detection": "trained"}, "gl-AO cannot be detected"),
    ],
)
def test_a_candidate_that_cannot_be_detected_ends_the_start(folders, settings, message):
    with pytest.raises(ValueError, match=message):
        engine_of(folders, **settings)


def test_trained_detection_without_rows_is_refused_with_how_to_get_them(places):
    with pytest.raises(ValueError, match="no trained detection rows.*fit-detection"):
        Engine(str(places[0]), [str(places[1])], 10**9, "float32", "cpu", detection="trained")


def test_a_damaged_file_loses_its_own_row_alone(folders, tmp_path):
    more = shutil.copytree(folders[1], tmp_path / "more")
    content = (more / "expert.gl-AO.safetensors").read_bytes()
    (more / "expert.gl-AO.safetensors").write_bytes(content[: len(content) // 2])
    assert detected(engine_of((folders[0], more), detection="trained"))[:2] == ["gl", "ga"]
    content = (more / "expert.ga.safetensors").read_bytes()
    (more / "expert.ga.safetensors").write_bytes(content[: len(content) // 2])
    assert "ga" not in detected(engine_of((folders[0], more), detection="trained"))


def test_windows_of_new_names_share_a_batch_and_say_what_they_say_alone(folders, complete, processor):
    """Where memory is scarce, a name leaves and comes back, perhaps to another token."""
    names = ("ga", "gl-AO", "gl", "ga", "fr")
    batch = [Item(samples, name, Settings()) for samples, name in zip(CLIPS, names, strict=True)]
    expected = []
    for item in batch:
        features = window_features(processor, [item.samples])
        (text,) = transcribe_windows(complete, processor, features, [item.language])
        expected.append(text.text)
    engine = engine_of(folders)
    assert [outcome.text.text for outcome in engine.run(batch)] == expected
    scarce = engine_of(folders, memory=engine.experts.loaded // 3 + 1000)
    for _ in range(2):
        assert [outcome.text.text for outcome in scarce.run(batch)] == expected
    assert len({*expected}) == len(batch)


class TestRequests:
    """Over HTTP, in this process."""

    @pytest.fixture(scope="class")
    def client(self, folders):
        for library in ("prometheus_client", "python_multipart"):
            pytest.importorskip(library, reason="needs the extra `serve`")
        from starlette.testclient import TestClient

        engine = engine_of(folders, candidate_languages=["experts"], detection="trained")
        return TestClient(serving.make_api(engine)[0].app(), raise_server_exceptions=False)

    def ask(self, client, samples=CLIPS[1], **form):
        form = {"model": serving.NAME, "response_format": "verbose_json", **form}
        return client.post(
            "/v1/audio/transcriptions", data=form, files={"file": ("a.wav", serving.encoded(samples, "WAV"))}
        )

    def test_a_request_without_language_takes_the_servers_choice_and_the_experts_of_it(self, client):
        answer = self.ask(client).json()
        assert answer["language"] == "ga" and answer["text"]
        assert answer == self.ask(client, language="ga").json()
        assert self.ask(client, CLIPS[0]).json()["language"] == "galician"

    def test_a_new_name_is_itself_before_its_region_is_dropped(self, client):
        """gl-AO has experts, and gl-ES has none: both are Galician by their first letters."""
        texts = {name: self.ask(client, language=name).json()["text"] for name in ("gl-AO", "gl", "ga", "gl-ES")}
        assert len({*texts.values()}) == 3 and texts["gl-ES"] == texts["gl"]
        assert self.ask(client, language="GL_ao").json()["text"] == texts["gl-AO"]
        assert self.ask(client, language="ga-IE").json()["text"] == texts["ga"]
        assert self.ask(client, model=f"{serving.NAME}:gl-AO").json()["text"] == texts["gl-AO"]
        assert [one["id"] for one in client.get("/v1/models").json()["data"]] == [
            "tiny",
            *(f"tiny:{name}" for name in ("ca", "ga", "gl", "gl-AO")),
        ]
        error = self.ask(client, language="cy").json()["error"]
        assert error["param"] == "language" and "which the model does not know" in error["message"]
