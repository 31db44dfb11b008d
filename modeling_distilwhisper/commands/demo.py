"""Open a web page to try a model: plain Whisper next to its language experts, and where the experts ran.

    distilwhisper demo distilwhisper-quickstart --examples examples/quickstart/in_domain/*/test/001.ogg

Upload or record, and choose the language or have it detected. Recordings stay on this machine, and the page loads
nothing from others: with the model in a folder, it works without a network. Needs
`pip install "modeling_distilwhisper[demo]"`.
"""

import argparse
import sys
from pathlib import Path

from ..runs.any_whisper import load_model, load_processor
from ..runs.extras import require
from .command_line import DEVICE, command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    require("gradio", "matplotlib", extra="demo")
    from .demo_page import CSS, THEME, make_page  # Gradio is an extra

    model, processor = load_model(arguments.model, "auto", arguments.device), load_processor(arguments.model)
    if not getattr(model.config, "languages", None):
        raise ValueError(f"{arguments.model} has no language experts: there is nothing to compare with plain Whisper.")
    page = make_page(model, processor, arguments.examples)
    # No Node server, no external links, no history.
    page.launch(
        server_name=arguments.host,
        server_port=arguments.port,
        theme=THEME,
        css=CSS,
        ssr_mode=False,
        footer_links=[],
        run_history=False,
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
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from other machines")
    parser.add_argument("--port", type=int, default=7860, help="where the page is served")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda, mps")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
