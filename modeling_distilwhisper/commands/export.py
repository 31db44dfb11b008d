"""Export one language of a DistilWhisper: as a plain Whisper (the default), or as ONNX graphs.

distilwhisper export --help                   # settings for a plain Whisper
distilwhisper export --format onnx --help     # settings for ONNX
"""

import argparse
import importlib

FORMATS = {"whisper": "export_whisper", "onnx": "export_onnx"}


def main(argv: list[str], prog: str) -> int:
    parser = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    parser.add_argument("--format", choices=FORMATS, default="whisper")
    known, rest = parser.parse_known_args(argv)
    module = importlib.import_module(f"{__package__}.{FORMATS[known.format]}")
    return module.main(rest, prog=f"{prog} --format {known.format}")
