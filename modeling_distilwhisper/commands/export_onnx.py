"""Export one language of a DistilWhisper as ONNX, gates included, and check onnxruntime against PyTorch.

    distilwhisper export --format onnx distilwhisper-base-ru --language ru \
        --clip prompts/ru/test/agent-loginok.flac --output_dir distilwhisper-base-ru-onnx

Needs `pip install "modeling_distilwhisper[export]"`. The graphs are encoder and decoder with cache, named as Optimum
names those of a Whisper. PyTorch transcribes the clip, and its tokens are then given to the graphs one by one: in a
batch with the first half of the clip, and after prompts of two lengths.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from tabulate import tabulate
from transformers import WhisperProcessor

from ..data.audio import SAMPLING_RATE, read_audio
from ..data.labels import label_ids
from ..export.onnx import DECODER, DECODER_WITH_PAST, ENCODER, export_to_onnx
from ..modeling_distilwhisper import DistilWhisperForConditionalGeneration
from ..names_distilwhisper import hide_paths
from ..runs.any_whisper import load_processor
from ..runs.extras import require
from ..runs.files import staged_folder
from .command_line import command, make_parser

TOLERANCE = 1e-3  # of a logit; the likeliest logits are 10 and more


@command
def main(argv: list[str], prog: str) -> int:
    arguments = parse(argv, prog)
    require("onnx", "onnxscript", "onnxruntime")
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        arguments.model, languages=[arguments.language], dtype=torch.float32
    )
    processor = load_processor(arguments.model)
    paths = export_to_onnx(model, arguments.language, arguments.output_dir)
    with staged_folder(arguments.output_dir) as staged:
        processor.save_pretrained(staged)
        hide_paths(staged)

    features, tokens, prompt_length, expected = by_pytorch(model, processor, arguments)
    difference, same = 0.0, True
    for length in (2, prompt_length):
        logits = by_onnxruntime(arguments.output_dir, features, tokens, length)
        difference = max(difference, float(np.abs(logits - expected[:, length - 1 :]).max()))
        same = same and bool((logits.argmax(-1) == expected[:, length - 1 :].argmax(-1)).all())
    sizes = [{"file": path.name, "MB": path.stat().st_size / 1e6} for path in paths]
    print(f"\n{tabulate(sizes, headers='keys', floatfmt='.1f')}\n\n{processor.decode(tokens[0])}")
    print(f"{logits.shape[1]} tokens: logits differ by at most {difference:.1e}; the same token is likeliest: {same}")
    return 0 if same and difference <= TOLERANCE else 1


def by_pytorch(
    model: DistilWhisperForConditionalGeneration, processor: WhisperProcessor, arguments: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """Transcribes the clip, and computes the logits of its tokens, for the clip and for its first half.

    Returns:
        features `(2, mel bins, frames)`; tokens `(2, tokens)`; the number of them in the prompt; and logits
        `(2, tokens, vocabulary)`.
    """
    clip = read_audio(arguments.clip)
    clips = [clip, clip[: len(clip) // 2]]
    features = processor(clips, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    prompt = [start, *label_ids(processor.tokenizer, "", arguments.language)[:3]]
    with torch.no_grad():
        transcript = model.generate(features[:1], language=arguments.language, task="transcribe")[0]
        text = transcript[transcript < end]  # control tokens have the numbers from the end token on
        tokens = torch.tensor([[*prompt, *text]] * 2)
        logits = model(features, decoder_input_ids=tokens).logits.numpy()
    return features.numpy(), tokens.numpy(), len(prompt), logits


def by_onnxruntime(folder: Path, features: np.ndarray, tokens: np.ndarray, prompt_length: int) -> np.ndarray:
    """Logits `(rows, tokens - prompt_length + 1, vocabulary)` after the prompt and after each later one of `tokens`
    `(rows, tokens)`."""
    import onnxruntime  # an extra

    encoder, decoder, step = (
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in (ENCODER, DECODER, DECODER_WITH_PAST)
    )
    (states,) = encoder.run(None, {"input_features": features})
    outputs = run_named(decoder, {"input_ids": tokens[:, :prompt_length], "encoder_hidden_states": states})
    logits = [outputs["logits"][:, -1]]
    cache: dict[str, np.ndarray] = {}
    for position in range(prompt_length, tokens.shape[1]):
        present = {name.removeprefix("present."): value for name, value in outputs.items() if name != "logits"}
        cache |= {f"past_key_values.{name}": value for name, value in present.items()}
        outputs = run_named(step, {"input_ids": tokens[:, position : position + 1], **cache})
        logits.append(outputs["logits"][:, -1])
    return np.stack(logits, axis=1)


def run_named(session, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of an `onnxruntime.InferenceSession` by name."""
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs), strict=True))


def parse(argv: list[str], prog: str) -> argparse.Namespace:
    parser = make_parser(__doc__, prog)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--language", required=True, help="code of the language to export")
    parser.add_argument("--clip", required=True, type=Path, help="a recording of up to 30 s in this language")
    parser.add_argument("--output_dir", required=True, type=Path, help="folder for the graphs")
    arguments = parser.parse_args(argv)
    if (arguments.output_dir / "config.json").exists():
        parser.error(f"{arguments.output_dir} holds a model already. Name another folder.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
