"""Export one language of a DistilWhisper as ONNX, gates included, and transcribe a clip with onnxruntime.

    python examples/export_onnx.py distilwhisper-base-ru --language ru --clip prompts/ru/test/agent-loginok.flac \
        --output_dir distilwhisper-base-ru-onnx

Needs `pip install "modeling_distilwhisper[export]"`. The graphs are encoder and decoder with cache, named as Optimum
names those of a Whisper. `distilwhisper export --format onnx` has the same flags. It compares the logits of both
programs instead of their transcripts.
"""

import sys

import numpy as np
import onnxruntime
import torch

from modeling_distilwhisper import (
    DistilWhisperForConditionalGeneration,
    export_to_onnx,
    load_processor,
    read_audio,
)
from modeling_distilwhisper.commands.command_line import command
from modeling_distilwhisper.commands.export_onnx import parse, run_named
from modeling_distilwhisper.data.labels import label_ids


@command
def main(argv: list[str], prog: str) -> int:
    arguments = parse(argv, prog)
    model = DistilWhisperForConditionalGeneration.from_pretrained(
        arguments.model, languages=[arguments.language], dtype=torch.float32
    )
    processor = load_processor(arguments.model)
    paths = export_to_onnx(model, arguments.language, arguments.output_dir)
    processor.save_pretrained(arguments.output_dir)
    encoder, decoder, step = (onnxruntime.InferenceSession(path) for path in paths)

    # Features of the clip, and Whisper's prompt: start, language, task, no timestamps.
    audio = processor(read_audio(arguments.clip), sampling_rate=16_000, return_tensors="np")
    prompt = [model.config.decoder_start_token_id, *label_ids(processor.tokenizer, "", arguments.language)[:3]]

    # The encoder runs once, and the decoder once over the prompt. Then `step` runs for each token, with the cache.
    (states,) = encoder.run(None, {"input_features": audio.input_features})
    outputs = run_named(decoder, {"input_ids": np.array([prompt]), "encoder_hidden_states": states})
    tokens, cache = [], {}
    not_at_first = model.generation_config.begin_suppress_tokens or []
    never = model.generation_config.suppress_tokens or []
    limit = min(100, model.config.max_target_positions // 2)  # tokens, for a clip of some seconds
    while len(tokens) < limit:
        logits = outputs.pop("logits")[0, -1]
        logits[[*never, *(not_at_first if not tokens else [])]] = -np.inf
        token = int(logits.argmax())
        if token == model.config.eos_token_id:
            break
        tokens.append(token)
        cache |= {name.replace("present.", "past_key_values."): value for name, value in outputs.items()}
        outputs = run_named(step, {"input_ids": np.array([[token]]), **cache})

    transcript = processor.decode(tokens, skip_special_tokens=True).strip()
    features = torch.from_numpy(audio.input_features)
    generated = model.generate(features, language=arguments.language, task="transcribe", max_new_tokens=limit)
    expected = processor.batch_decode(generated, skip_special_tokens=True)[0].strip()
    print(f"onnxruntime: {transcript}\nPyTorch:     {expected}")
    return 0 if transcript == expected else 1


if __name__ == "__main__":
    sys.exit(main())
