"""Serve a model and the experts of many languages by OpenAI's audio API: requests of all languages share batches.

    distilwhisper serve distilwhisper-quickstart

    curl http://127.0.0.1:8000/v1/audio/transcriptions -F model=distilwhisper-quickstart -F language=ca \\
        -F file=@examples/quickstart/in_domain/ca/test/001.ogg

Needs `pip install "modeling_distilwhisper[serve]"`. Experts are loaded when a language is first asked for. Whoever
reaches the server may use it, unless it has a key: DISTILWHISPER_API_KEY, or --api_key_file. docs/serve.md has more.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

from ..runs.extras import require
from ..runs.precision import PRECISIONS
from ..serving.secure import secure_ray
from .command_line import DEVICE, add_detection, command, make_parser


@command
def main(argv: list[str], prog: str) -> None:
    arguments = parse(argv, prog)
    if arguments.ray_address is None:
        secure_ray()
    require("ray.serve", "uvicorn", "python_multipart", "prometheus_client", extra="serve")
    from ..serving.api import Limits
    from ..serving.server import ServerSettings, read_key, run_server

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # while it starts: what was started is ended
    replicas = arguments.replicas
    run_server(
        ServerSettings(
            model=arguments.model,
            name=arguments.name or Path(arguments.model).resolve().name,
            experts=tuple(arguments.experts),
            expert_memory=arguments.expert_memory,
            host=arguments.host,
            port=arguments.port,
            device=arguments.device,
            precision=arguments.precision,
            batch_size=arguments.batch_size,
            replicas=replicas,
            threads=arguments.threads or max(1, (len(os.sched_getaffinity(0)) - 1) // replicas),
            candidate_languages=arguments.candidate_languages,
            detection=arguments.detection,
            vad=arguments.vad,
            max_minutes=arguments.max_minutes,
            limits=Limits(arguments.max_upload, arguments.upload_seconds, arguments.max_requests),
            key=read_key(arguments.api_key_file),
            ray_address=arguments.ray_address,
        )
    )


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("model", help="folder or Hub id of a multilingual Whisper, plain or with experts")
    parser.add_argument("--name", help="of the model, as clients write it; by default the last part of its location")
    parser.add_argument("--experts", nargs="+", default=[], help="folders or Hub ids of more experts for this Whisper")
    parser.add_argument("--expert_memory", type=float, default=2000, help="MB that loaded experts may take")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from other machines")
    parser.add_argument("--port", type=int, default=8000, help="where it listens")
    parser.add_argument("--api_key_file", type=Path, help="a file with the key that clients have to send")
    parser.add_argument("--batch_size", type=int, default=8, help="at most this many windows of 30 s at a time")
    parser.add_argument("--replicas", type=int, default=1, help="processes with the model, on a GPU each if there are")
    parser.add_argument(
        "--threads",
        type=int,
        help="of each replica; by default, all cores but one, for the server itself, are shared out",
    )
    add_detection(parser)
    parser.add_argument("--vad", default="silero", help="finds speech: silero, none, or module:function")
    parser.add_argument("--max_upload", type=float, default=100, help="MiB of a request")
    parser.add_argument("--upload_seconds", type=float, default=300, help="in which a request has to arrive")
    parser.add_argument("--max_minutes", type=float, default=120, help="the longest recording")
    parser.add_argument("--max_requests", type=int, default=64, help="taken on at a time; others get the status 429")
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="precision of the weights")
    parser.add_argument("--device", default=DEVICE, help="cpu, cuda")
    parser.add_argument("--ray_address", help="of a Ray cluster that is running, for several machines")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
