"""Side by side: the transcripts of plain Whisper and of the experts, unchanged, and the gates of the experts."""

import io

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.image import imread

from modeling_distilwhisper.data.collate import SpeechCollator
from modeling_distilwhisper.evaluation.gates import gates_of_utterance
from modeling_distilwhisper.reporting import figures
from modeling_distilwhisper.transcription.batched import BatchTranscriber
from modeling_distilwhisper.transcription.segments import Segment, Transcript
from modeling_distilwhisper.transcription.side_by_side import changed_words, transcribe_side_by_side

FRAMES = 50  # a second, of the encoder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return torch.randn(int(16_000 * seconds), generator=torch.Generator().manual_seed(seed)).numpy()


def wav(samples: np.ndarray) -> dict:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="wav", subtype="FLOAT")
    return {"bytes": file.getvalue(), "path": None}


def transcript_of(text: str, language: str = "gl") -> Transcript:
    return Transcript(language, 1.0, [Segment(0.0, 1.0, text)])


def batched(model, processor, samples, language, **settings) -> Transcript:
    ((_, transcript),) = BatchTranscriber(model, processor, None, **settings)([(None, samples, language)])
    return transcript


@pytest.mark.parametrize("seconds", [1.0, 5.0])
def test_the_transcripts_are_those_of_whisper_and_of_the_model(model, whisper, processor, seconds):
    samples, settings = noise(seconds), {"max_new_tokens": 20}
    thresholds = [layer.experts["gl"].gate.threshold.clone() for layer in model.routed_layers().values()]
    result = transcribe_side_by_side(model, processor, samples, "gl", **settings)
    assert result.plain == batched(whisper, processor, samples, "gl", **settings)
    assert result.experts == batched(model, processor, samples, "gl", **settings)
    assert result.plain.text != result.experts.text
    after = [layer.experts["gl"].gate.threshold for layer in model.routed_layers().values()]
    assert all(map(torch.equal, thresholds, after)), "the gates are as they were"


def test_a_detected_language_takes_its_experts_and_one_without_is_plain(model, whisper, processor):
    samples = noise(1.0)
    detected = batched(whisper, processor, samples, None, max_new_tokens=9)
    result = transcribe_side_by_side(model, processor, samples, max_new_tokens=9)
    assert result.plain.language == result.experts.language == detected.language
    other = transcribe_side_by_side(model, processor, samples, "fr", max_new_tokens=9)
    assert other.experts == other.plain and other.gates is None


def test_where_no_speech_is_found_nothing_is_invented(model, processor):
    result = transcribe_side_by_side(model, processor, noise(1.0), None, lambda samples: [])
    assert result.plain == Transcript("und", 1.0, []) and result.gates is None


@pytest.mark.parametrize("seconds", [1, 5])
def test_the_gates_span_the_recording_and_its_words_layer_by_layer(model, processor, seconds):
    is_open = {("encoder", 0): 1, ("encoder", 1): 0, ("decoder", 0): 0, ("decoder", 1): 1}
    for key, layer in model.routed_layers().items():
        layer.experts["gl"].gate.threshold.fill_(-torch.inf if is_open[key] else torch.inf)
    result = transcribe_side_by_side(model, processor, noise(seconds), "gl", max_new_tokens=20)
    gates = result.gates
    assert np.array_equal(gates.frames, np.repeat([[1], [0]], FRAMES * seconds, axis=1))
    assert np.array_equal(gates.word_usage, np.repeat([[0], [1]], len(gates.words), axis=1))
    assert "".join("".join(gates.words).split()) == "".join(result.experts.text.split()), "no word is missing or twice"


def test_the_usage_of_a_word_is_the_mean_of_its_tokens(model, processor):
    samples = noise(1.0, seed=2)
    for layer in model.routed_layers().values():
        layer.experts["gl"].gate.threshold.fill_(0.5)
    result = transcribe_side_by_side(model, processor, samples, "gl", max_new_tokens=20)
    batch = SpeechCollator(processor)([{"audio": wav(samples), "text": result.experts.text, "language": "gl"}])
    every = gates_of_utterance(model, batch)["decoder"][:, 3:-1].numpy()
    spoken, begin, shares = f" {result.experts.text}", 0, []
    for word in result.gates.words:  # a token is a letter here, and the space in front is the word's
        end = spoken.index(word, begin) + len(word)
        shares.append(every[:, begin:end].mean(axis=1))
        begin = end
    assert begin == every.shape[1] and 0 < every.mean() < 1
    assert np.allclose(result.gates.word_usage, np.stack(shares, axis=1))


def test_a_recording_with_an_empty_transcript_has_gates_but_no_words(model, processor):
    result = transcribe_side_by_side(model, processor, noise(1.0), "gl", lambda samples: [])
    assert result.gates.words == [] and result.gates.word_usage.shape == (2, 0)
    assert result.gates.frames.shape == (2, FRAMES)
    assert changed_words(result.plain, result.experts) == ([], [])


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("bo día a todos", "bo dia a todos", (["día"], ["dia"])),
        ("Bo día, a todos!", "bo día a todos", ([], [])),
        ("a casa", "a nosa casa", ([], ["nosa"])),
        ("un dous tres", "", (["un", "dous", "tres"], [])),
        ("dúas veces veces", "dúas veces", (["veces"], [])),
        ("si - non", "si non", ([], [])),
    ],
)
def test_words_that_differ_are_marked_and_no_others(before, after, marked):
    marked_words = changed_words(transcript_of(before), transcript_of(after))
    assert tuple([word.strip() for word, changed in words if changed] for words in marked_words) == marked
    assert ["".join(word for word, _ in words) for words in marked_words] == [before, after], (
        "joined, they are the text"
    )


@pytest.mark.parametrize("language", ["th", "th-x-clinic"])
def test_where_words_have_no_spaces_letters_are_marked(language):
    plain, experts = changed_words(transcript_of("สวัสดีครับ", language), transcript_of("สวัสดีค่ะ", language))
    letters = ["".join(letter for letter, changed in word if changed) for word in (plain, experts)]
    assert letters == ["ครับ", "ค่ะ"]


def test_the_picture_of_a_long_recording_shows_shares(tmp_path, monkeypatch):
    drawn, save = [], figures.save_figure
    monkeypatch.setattr(figures, "save_figure", lambda figure, path: (drawn.append(figure), save(figure, path)))
    short = np.eye(2, 100)
    figures.draw_audio_gates(short, noise(2.0), 2.0, tmp_path / "short.png")
    halves = np.tile([0.0, 1.0], (2, 1500))
    figures.draw_audio_gates(halves, noise(60.0), 60.0, tmp_path / "long.png")
    images = [figure.axes[1].images[0].get_array() for figure in drawn]
    assert np.array_equal(images[0], short) and drawn[0].axes[1].get_xlim() == (0, 2)
    assert images[1].shape == (2, 750) and (images[1] == 0.5).all()
    assert {path.name for path in tmp_path.iterdir()} == {"short.png", "long.png"}
    assert imread(tmp_path / "long.png").ndim == 3
