"""Open a web page to try a model: plain Whisper next to its language experts, and where the experts ran.

    distilwhisper demo distilwhisper-quickstart --examples examples/quickstart/in_domain/*/test/001.ogg

Upload or record, and choose the language or have it detected. Recordings stay on this machine, and the page loads
nothing from others: with the model in a folder, it works without a network. Needs
`pip install "modeling_distilwhisper[demo]"`.

A visitor may upload 100 MiB at a time and 20 minutes of speech, of which the transcription may take 10 minutes; 20 may
wait. Their files are deleted after half an hour, and all of them when the page ends. Whoever reaches the page may use
it: there is no password.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from ..data.voice import find_detector
from ..runs.any_whisper import load_model, load_processor
from ..runs.extras import require
from ..transcription.detection import detection_choice
from .command_line import DEVICE, add_detection, command, make_parser
from .demo_limits import MAX_UPLOAD, Guard

TEMP_DIR = "GRADIO_TEMP_DIR"  # the environment variable


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    # Gradio ends the page at Ctrl+C. Without the same at a kill, the files of visitors would outlive it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place = Path(os.environ.get(TEMP_DIR, tempfile.gettempdir()))
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="distilwhisper-demo-", dir=place) as folder:
        os.environ[TEMP_DIR] = folder  # before Gradio is imported
        serve(arguments, folder)


def serve(arguments: argparse.Namespace, folder: str) -> None:
    """Serves the page until it is ended. Files of visitors are kept in the folder."""
    require("gradio", "matplotlib", extra="demo")
    from starlette.middleware import Middleware  # a part of Gradio, an extra

    from .demo_page import CSS, THEME, make_page

    detector = find_detector(arguments.vad)
    model, processor = load_model(arguments.model, "auto", arguments.device), load_processor(arguments.model)
    if not getattr(model.config, "languages", None):
        raise ValueError(f"{arguments.model} has no language experts: there is nothing to compare with plain Whisper.")
    choice = detection_choice(model, arguments.candidate_languages, arguments.detection, arguments.model)
    # No Node server, no external links, no history.
    make_page(model, processor, detector, arguments.examples, choice).launch(
        server_name=arguments.host,
        server_port=arguments.port,
        theme=THEME,
        css=CSS,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
        max_file_size=MAX_UPLOAD,
        app_kwargs={"middleware": [Middleware(Guard, folder=folder)]},
    )


def recording(name: str) -> Path:
    """The path of a recording that exists."""
    path = Path(name).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{name} does not exist")
    return path


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--examples", nargs="+", type=recording, default=[], help="recordings that visitors can choose")
    add_detection(parser)
    parser.add_argument("--vad", default="silero", help="finds speech: silero, none, or module:function")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from other machines")
    parser.add_argument("--port", type=int, default=7860, help="where the page is served")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
