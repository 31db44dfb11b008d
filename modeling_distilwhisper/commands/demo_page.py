"""The page of `distilwhisper demo`: plain Whisper's transcript next to that of the experts, and where these ran.

Gradio is imported here, not in `demo.py`, whose settings are then read without it.
"""

import os
import tempfile
import time
from html import escape
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read on import

import gradio as gr
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ..data.audio import read_audio
from ..data.voice import Detector
from ..languages_distilwhisper import known_languages
from ..reporting.figures import draw_audio_gates
from ..runs.files import file_name, write_atomically
from ..transcription.detection import DetectionChoice
from ..transcription.segments import UNDETERMINED, Transcript
from ..transcription.side_by_side import Gates, SideBySide, changed_words, transcribe_side_by_side
from ..transcription.subtitles import to_srt
from .demo_limits import KEPT_SECONDS, MAX_QUEUE, MAX_WORK_MINUTES, Deadline, check_length

THEME = gr.themes.Default(primary_hue="blue")  # its fonts are served from here
CSS = """
.html-container { padding: 0 !important; }
.transcript { font-size: 1.3rem; line-height: 1.7; overflow-wrap: anywhere; }
.transcript mark { color: inherit; padding: 0 .15em; border-radius: .2em; }
#plain mark { background: rgb(230 159 0 / .35); }
#experts mark { background: rgb(0 114 178 / .3); }
.gates { display: flex; flex-wrap: wrap; gap: 1rem .6rem; font-size: 1.1rem; }
.gates > span { display: flex; flex-direction: column; align-items: center; max-width: 100%; overflow-wrap: anywhere; }
.gates i { width: 100%; min-width: 2.2rem; height: .9rem; margin-top: -1px; border: 1px solid rgb(128 128 128 / .5);
           background: rgb(0 114 178 / var(--open)); }
.gates i:first-of-type { margin-top: .3rem; }
#segments table { width: 100%; border: 0; border-collapse: collapse; margin: 0; }
#segments tr { border: 0; }
#segments td { border: 0; border-bottom: 1px solid rgb(128 128 128 / .25); padding: .4rem 1rem .4rem 0;
               vertical-align: top; overflow-wrap: anywhere; }
#segments td:first-child { white-space: nowrap; font-variant-numeric: tabular-nums; opacity: .7; width: 1%; }
"""


def make_page(model, processor, detector: Detector | None, examples: list[Path], choice: DetectionChoice) -> gr.Blocks:
    """The page.

    Args:
        model: with experts.
        processor: the model's.
        detector: finds speech.
        examples: recordings that visitors can choose.
        choice: how languages are detected.
    """

    def transcribe(path: str | None, language: str) -> tuple:
        if path is None:
            raise gr.Error("Upload or record something first.", print_exception=False)
        begun = time.perf_counter()
        try:
            check_length(path)
            samples = read_audio(path)
            if not len(samples):
                raise ValueError("The recording is empty.")
            result = transcribe_side_by_side(
                model,
                processor,
                samples,
                language or None,
                detector,
                candidate_languages=choice.candidates,
                detection=choice.detection,
                stopping_criteria=[Deadline(MAX_WORK_MINUTES)],
            )
        except ValueError as error:
            raise gr.Error(without_path(str(error), path), print_exception=False) from None
        took = time.perf_counter() - begun
        plot = None
        # Only Gradio's copies remain, until `delete_cache`.
        with tempfile.TemporaryDirectory() as folder:
            if result.gates is not None:
                drawn = Path(folder, "gates.png")
                draw_audio_gates(result.gates.frames, samples, result.experts.seconds, drawn)
                plot = picture.move_resource_to_block_cache(drawn)
            written = Path(folder, f"{name_of(path)}.srt")
            write_atomically(written, to_srt(result.experts))
            subtitles = download.move_resource_to_block_cache(written)
        plain, experts = (marked(words) for words in changed_words(result.plain, result.experts))
        return (
            gr.Column(visible=True),
            summary(result, detected=not language, took=took),
            plain,
            experts,
            gr.Column(visible=result.gates is not None),
            plot,
            result.gates and over_words(result.gates),
            table(result.experts),
            subtitles,
        )

    trained = model.config.languages
    with gr.Blocks(title="DistilWhisper", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        gr.Markdown(
            "# DistilWhisper\nPlain Whisper next to the same Whisper with experts of the recording's language. "
            f"This one has experts for {', '.join(map(language_name, trained))}. Recordings stay on the machine that "
            "serves it."
        )
        with gr.Row():
            with gr.Column(min_width=320):
                audio = gr.Audio(
                    sources=["upload", "microphone"],
                    type="filepath",
                    label="Recording",
                    buttons=["download"],
                    elem_id="audio",
                )
                if examples:
                    shared = os.path.commonpath([path.parent for path in examples])
                    names = [str(path.relative_to(shared)) for path in examples]
                    gr.Examples(
                        [[str(path)] for path in examples], [audio], label="Recordings to try", example_labels=names
                    )
            with gr.Column(min_width=320):
                choices = [("Detect it", ""), *((f"{language_name(code)}, with experts", code) for code in trained)]
                others = known_languages(model).keys() - set(trained)
                choices += sorted((language_name(code), code) for code in others)
                language = gr.Dropdown(choices, value="", label="Language", elem_id="language")
                button = gr.Button("Transcribe", variant="primary", elem_id="transcribe")
        with gr.Column(visible=False) as results:
            summary_text = gr.HTML(elem_id="summary")
            with gr.Row():
                with gr.Column(min_width=320):
                    gr.Markdown("### Plain Whisper")
                    plain = gr.HTML(elem_id="plain")
                with gr.Column(min_width=320):
                    gr.Markdown("### With experts")
                    experts = gr.HTML(elem_id="experts")
            with gr.Column(visible=True) as usage:
                gr.Markdown("### Where the experts ran\nBlue: the expert. Else Whisper's own feed-forward.")
                with gr.Row():
                    with gr.Column(min_width=320):
                        gr.Markdown("Over the recording, by encoder layer")
                        picture = gr.Image(
                            type="filepath",
                            format="png",
                            interactive=False,
                            show_label=False,
                            buttons=["fullscreen"],
                            alt_text="The recording's waveform, and below it where each layer's expert ran",
                            elem_id="picture",
                        )
                    with gr.Column(min_width=320):
                        gr.Markdown("Over the words, by decoder layer, the first on top")
                        words = gr.HTML(elem_id="words")
            gr.Markdown("### With times")
            segments = gr.HTML(elem_id="segments")
            download = gr.DownloadButton("Download subtitles (SRT)", elem_id="download")
        # One at a time: while words are timed, the attention of the model is another one.
        button.click(
            transcribe,
            [audio, language],
            [results, summary_text, plain, experts, usage, picture, words, segments, download],
            concurrency_limit=1,
        )
    # Without `api_open=False`, visitors could go past the queue.
    return page.queue(max_size=MAX_QUEUE, api_open=False)


def without_path(message: str, path: str) -> str:
    """A message to a visitor: it names the recording, not where it lies on the server."""
    folders = {str(Path(path).parent), str(Path(path).resolve().parent)}
    for folder in folders:
        message = message.replace(f"{folder}{os.sep}", "")
    return escape(message)


def name_of(path: str) -> str:
    """The name of the subtitles' file, without suffix."""
    try:
        return file_name(Path(path).stem)
    except ValueError:  # the name has no letters or digits
        return "recording"


def language_name(code: str) -> str:
    return LANGUAGES[code].capitalize() if code in LANGUAGES else code


def summary(result: SideBySide, *, detected: bool, took: float) -> str:
    nothing_written = not (result.experts.segments or result.experts.dropped or result.plain.segments)
    if result.plain.language == UNDETERMINED or nothing_written:
        return f"<p>No speech was found in {result.plain.seconds:.1f} s of audio.</p>"
    language = f"{language_name(result.plain.language)}{' (detected)' if detected else ''}"
    text = f"{language}, {result.plain.seconds:.1f} s of audio, transcribed twice in {took:.1f} s."
    if result.gates is None:
        text = f"{language} has no experts here: this is plain Whisper."
    return f"<p>{escape(text)}</p>"


def marked(words: list[tuple[str, bool]]) -> str:
    """Words of a transcript, marked where they differ from those of the other one."""
    parts = (f"<mark>{escape(word.rstrip())}</mark> " if changed else escape(word) for word, changed in words)
    return f'<div class="transcript" dir="auto">{"".join(parts) or "<em>nothing</em>"}</div>'


def over_words(gates: Gates) -> str:
    """Each word over a column of its layers."""
    parts = []
    for word, layers in zip(gates.words, gates.word_usage.T.tolist(), strict=True):
        cells = "".join(f'<i style="--open: {share:.2f}"></i>' for share in layers)
        share = f"{sum(layers) / len(layers):.0%} of this word took the expert"
        parts.append(f'<span title="{share}">{escape(word)}{cells}</span>')
    return f'<div class="gates" dir="auto">{"".join(parts)}</div>'


def table(transcript: Transcript) -> str:
    """Segments with their times, and between them what was dropped as invented, with the reason."""
    rows = [(segment.start, segment.end, escape(segment.text)) for segment in transcript.segments]
    for part in transcript.dropped:
        rows.append((part.start, part.end, f"<s>{escape(part.text)}</s> <em>Left out: {escape(part.reason)}.</em>"))
    cells = (f"<tr><td>{start:.2f} to {end:.2f} s</td><td>{text}</td></tr>" for start, end, text in sorted(rows))
    return f"<table>{''.join(cells)}</table>"
