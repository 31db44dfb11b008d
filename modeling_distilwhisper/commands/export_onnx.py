"""One language of a DistilWhisper as ONNX, gates included, and a check that onnxruntime computes what PyTorch does.

    python examples/export_onnx.py distilwhisper-base-ru --language ru --clip prompts/ru/test/agent-loginok.flac \
        --output_dir distilwhisper-base-ru-onnx

Needs `pip install -e ".[export]"`. The graphs are encoder and decoder with cache, named as Optimum names those of a
Whisper. The clip is transcribed by PyTorch, and its tokens are then fed to the graphs one by one: in a batch with the
clip's first half, and behind prompts of two lengths.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from tabulate import tabulate
from transformers import WhisperProcessor

from .. import DistilWhisperForConditionalGeneration
from ..data.audio import SAMPLING_RATE, read_audio
from ..data.labels import label_ids
from ..export.onnx import DECODER, DECODER_WITH_PAST, ENCODER, export_to_onnx

TOLERANCE = 1e-3  # of a logit, of which the likeliest are 10 and more


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder or Hub id of a model with language experts")
    parser.add_argument("--language", required=True, help="code of the language to export")
    parser.add_argument("--clip", required=True, type=Path, help="a recording of up to 30 s in this language")
    parser.add_argument("--output_dir", required=True, type=Path)
    args = parser.parse_args(argv)
    if (args.output_dir / "config.json").exists():
        parser.error(f"{args.output_dir} holds a model already. Name another folder.")
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        args.model, languages=[args.language], dtype=torch.float32
    )
    processor = WhisperProcessor.from_pretrained(args.model)
    paths = export_to_onnx(model, args.language, args.output_dir)
    processor.save_pretrained(args.output_dir)

    clip = read_audio(args.clip)
    clips = [clip, clip[: len(clip) // 2]]
    heard = processor(clips, sampling_rate=SAMPLING_RATE, return_tensors="pt").input_features
    start, end = model.config.decoder_start_token_id, model.config.eos_token_id
    prompt = [start, *label_ids(processor.tokenizer, "", args.language)[:3]]
    with torch.no_grad():
        said = model.generate(heard[:1], language=args.language, task="transcribe")[0]
        tokens = torch.tensor([[*prompt, *said[said < end]]] * 2)  # control tokens have the numbers from the end's on
        logits = model(heard, decoder_input_ids=tokens).logits.numpy()
    difference, same = 0.0, True
    for length in (2, len(prompt)):
        found, expected = run(args.output_dir, heard.numpy(), tokens.numpy(), length), logits[:, length - 1 :]
        difference = max(difference, float(np.abs(found - expected).max()))
        same = same and bool((found.argmax(-1) == expected.argmax(-1)).all())
    sizes = [{"file": path.name, "MB": path.stat().st_size / 1e6} for path in paths]
    print(f"\n{tabulate(sizes, headers='keys', floatfmt='.1f')}\n\n{processor.decode(tokens[0])}")
    print(f"{found.shape[1]} tokens: logits differ by at most {difference:.1e}; the same token is likeliest: {same}")
    return 0 if same and difference <= TOLERANCE else 1


def run(folder: Path, features: np.ndarray, tokens: np.ndarray, prompt: int) -> np.ndarray:
    """Logits `(rows, tokens - prompt + 1, vocabulary)` behind the prompt and each later one of `(rows, tokens)`."""
    encoder, decoder, step = (
        onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in (ENCODER, DECODER, DECODER_WITH_PAST)
    )
    (states,) = encoder.run(None, {"input_features": features})
    outputs = named(decoder, {"input_ids": tokens[:, :prompt], "encoder_hidden_states": states})
    logits, cache = [outputs["logits"][:, -1]], {}
    for place in range(prompt, tokens.shape[1]):
        present = {name.removeprefix("present."): value for name, value in outputs.items() if name != "logits"}
        cache |= {f"past_key_values.{name}": value for name, value in present.items()}
        outputs = named(step, {"input_ids": tokens[:, place : place + 1], **cache})
        logits.append(outputs["logits"][:, -1])
    return np.stack(logits, axis=1)


def named(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs), strict=True))


if __name__ == "__main__":
    sys.exit(main())
