"""A page to try a model: plain Whisper's transcript beside that of its language experts, and where they ran.

    python examples/demo.py distilwhisper-quickstart --examples examples/quickstart/in_domain/*/test/001.ogg

Upload or record, choose the language or have it detected. Recordings stay on this machine, and nothing is fetched from
others: with the model in a folder, it works without a network. Needs `pip install -e ".[examples,demo]"`.
"""

import argparse
import os
import tempfile
import time
from html import escape
from pathlib import Path

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read on import

import gradio as gr
import torch
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from ..data.audio import read_audio
from ..reporting.figures import draw_audio_gates
from ..runs.any_whisper import load_model, load_processor
from ..runs.files import file_name, write_atomically
from ..transcription.segments import Transcript
from ..transcription.side_by_side import Gates, SideBySide, changed_words, transcribe_side_by_side
from ..transcription.subtitles import to_srt

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


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    model, processor = load_model(args.model, "auto", args.device), load_processor(args.model)
    if not getattr(model.config, "languages", None):
        raise ValueError(f"{args.model} has no language experts: there is nothing to put beside plain Whisper.")
    page = make_page(model, processor, args.examples)
    # Without a server of Node's, links to elsewhere, and records of what was tried.
    page.launch(
        server_name=args.host,
        server_port=args.port,
        theme=THEME,
        css=CSS,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
    )


def make_page(model, processor, examples: list[Path]) -> gr.Blocks:
    def listen(path: str | None, language: str, times: bool) -> tuple:
        if path is None:
            raise gr.Error("Upload or record something first.", print_exception=False)
        try:
            samples = read_audio(path)
        except ValueError as error:
            raise gr.Error(str(error), print_exception=False) from None
        if not len(samples):
            raise gr.Error("There is nothing in that recording.", print_exception=False)
        begun = time.perf_counter()
        found = transcribe_side_by_side(model, processor, samples, language or None, return_timestamps=times)
        took = time.perf_counter() - begun
        drawn = None
        # Gradio's own copies are all that stays, until `delete_cache`.
        with tempfile.TemporaryDirectory() as folder:
            if found.gates is not None:
                drawn = Path(folder, "gates.png")
                draw_audio_gates(found.gates.frames, samples, found.experts.seconds, drawn)
                drawn = picture.move_resource_to_block_cache(drawn)
            subtitles = Path(folder, f"{name_of(path)}.srt")
            write_atomically(subtitles, to_srt(found.experts))
            subtitles = download.move_resource_to_block_cache(subtitles)
        plain, experts = (marked(words) for words in changed_words(found.plain, found.experts))
        return (
            gr.Column(visible=True),
            summary(found, detected=not language, took=took),
            plain,
            experts,
            gr.Column(visible=found.gates is not None),
            drawn,
            found.gates and over_words(found.gates),
            table(found.experts),
            subtitles,
        )

    trained = model.config.languages
    with gr.Blocks(title="DistilWhisper", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(
            "# DistilWhisper\nPlain Whisper beside the same Whisper with experts of the recording's language. This one "
            f"has experts for {', '.join(map(named, trained))}. Recordings stay on the machine that this runs on."
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
                choices = [("Detect it", ""), *((f"{named(code)}, with experts", code) for code in trained)]
                known = {name.strip("<|>") for name in model.generation_config.lang_to_id}
                choices += sorted((named(code), code) for code in known - set(trained))
                language = gr.Dropdown(choices, value="", label="Language", elem_id="language")
                times = gr.Checkbox(
                    label="Times within the recording",
                    info="Experts learn without: a short recording may be heard better so.",
                    elem_id="times",
                )
                button = gr.Button("Transcribe", variant="primary", elem_id="transcribe")
        with gr.Column(visible=False) as results:
            told = gr.HTML(elem_id="summary")
            with gr.Row():
                with gr.Column(min_width=320):
                    gr.Markdown("### Plain Whisper")
                    plain = gr.HTML(elem_id="plain")
                with gr.Column(min_width=320):
                    gr.Markdown("### With experts")
                    experts = gr.HTML(elem_id="experts")
            with gr.Column(visible=True) as where:
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
                            alt_text="The recording's waveform, and under it where each layer's expert ran",
                            elem_id="picture",
                        )
                    with gr.Column(min_width=320):
                        gr.Markdown("Over the words, by decoder layer, the first on top")
                        words = gr.HTML(elem_id="words")
            gr.Markdown("### Times")
            segments = gr.HTML(elem_id="segments")
            download = gr.DownloadButton("Download subtitles (SRT)", elem_id="download")
        # One at a time: the gates of the one model are shut while plain Whisper listens.
        button.click(
            listen,
            [audio, language, times],
            [results, told, plain, experts, where, picture, words, segments, download],
            concurrency_limit=1,
        )
    return page


def name_of(path: str) -> str:
    """What the recording's subtitles are called."""
    try:
        return file_name(Path(path).stem)
    except ValueError:  # of a name without letters or digits nothing is left
        return "recording"


def named(code: str) -> str:
    return LANGUAGES.get(code, code).capitalize()


def summary(found: SideBySide, *, detected: bool, took: float) -> str:
    language = f"{named(found.plain.language)}{' (detected)' if detected else ''}"
    text = f"{language}, {found.plain.seconds:.1f} s of audio, heard twice in {took:.1f} s."
    if found.gates is None:
        text = f"{language} has no experts here: this is plain Whisper."
    return f"<p>{escape(text)}</p>"


def marked(words: list[tuple[str, bool]]) -> str:
    """Words of a transcript, marked where they are others than in the other one."""
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
    rows = "".join(
        f"<tr><td>{segment.start:.2f} to {segment.end:.2f} s</td><td>{escape(segment.text)}</td></tr>"
        for segment in transcript.segments
    )
    return f"<table>{rows}</table>"


def recording(name: str) -> Path:
    path = Path(name).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{name} is not there")
    return path


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--examples", nargs="+", type=recording, default=[], help="recordings that visitors can choose")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
