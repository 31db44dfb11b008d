"""Every way of decoding that Whisper offers, on the tiny model."""

import copy
from importlib.metadata import version

import pytest
import torch
from helpers import tiny
from packaging.version import Version
from transformers import WhisperForCausalLM

LONG = [5.0, 1.2, 3.1]  # seconds; the window is 2
SHORT = [2.0, 0.7, 1.4]
ALWAYS = {"logprob_threshold": 1.0, "compression_ratio_threshold": 50.0}
SOMETIMES = {"logprob_threshold": -2.0, "compression_ratio_threshold": 50.0}

MODES = {
    "greedy": {},
    "beam": {"num_beams": 3},
    "sampling": {"temperature": 0.9},
    "timestamps": {"return_timestamps": True},
    "word timestamps": {"return_token_timestamps": True},
    "long-form": {"return_timestamps": True},
    "long-form beam": {"return_timestamps": True, "num_beams": 2},
    "fallback": {"temperature": (0.0, 0.5, 1.0), **ALWAYS},
    "fallback of some rows": {"return_timestamps": True, "temperature": (0.0, 1e-6), **SOMETIMES},
    "no speech": {"return_timestamps": True, "temperature": 0.0, "logprob_threshold": 1.0, "no_speech_threshold": 1e-4},
    "prompt ids": {"prompt": "earlier words"},
    "previous tokens": {"return_timestamps": True, "condition_on_prev_tokens": True, "temperature": 0.0},
    "several returns": {"num_beams": 2, "num_return_sequences": 2},
    "static cache": {"cache_implementation": "static"},
    "assisted": {"assistant": "same"},
    "assisted by a plain Whisper": {"assistant": "plain"},
    "assisted by a decoder": {"assistant": "decoder"},
}
SAMPLED = ("sampling", "fallback")


def inputs_for(mode: str, processor) -> dict[str, torch.Tensor]:
    if mode.startswith("assisted"):  # Whisper's assisted decoding takes one row
        return tiny.make_audio(processor, SHORT[:1])
    return tiny.make_audio(processor, LONG if mode.startswith(("long", "previous")) else SHORT)


def generate_plainly(
    whisper, processor, mode: str, audio: dict[str, torch.Tensor], language
) -> dict[str, torch.Tensor]:
    """What Whisper itself transcribes. A release in which its assisted decoding fails has nothing to be equal to."""
    try:
        return generate(whisper, processor, mode, audio, language)
    except (AttributeError, UnboundLocalError) as error:
        release = version("transformers")
        if not mode.startswith("assisted") or Version(release) >= Version("5.15"):
            raise
        pytest.skip(f"in Transformers {release}, plain Whisper fails: {error}")


def generate(model, processor, mode: str, audio: dict[str, torch.Tensor], language) -> dict[str, torch.Tensor]:
    """Transcribes with `MODES[mode]`; `language` is one code or a code a row."""
    settings = dict(MODES[mode])
    if "prompt" in settings:
        prompt = processor.tokenizer.convert_tokens_to_ids("<|startofprev|>")
        text = processor.tokenizer(settings.pop("prompt"), add_special_tokens=False).input_ids
        settings["prompt_ids"] = torch.tensor([prompt, *text])
    if "assistant" in settings:
        kind = settings.pop("assistant")
        assistant = copy.deepcopy(model) if kind == "same" else tiny.make_whisper(processor, seed=0)
        if kind == "decoder":
            decoder = WhisperForCausalLM(assistant.config).eval()
            decoder.model.decoder.load_state_dict(assistant.model.decoder.state_dict())
            decoder.proj_out.weight = decoder.model.decoder.embed_tokens.weight
            decoder.generation_config, assistant = assistant.generation_config, decoder
        assistant.generation_config.num_assistant_tokens = 3
        settings["assistant_model"] = assistant
    torch.manual_seed(7)
    with torch.device("cpu"):  # Whisper's long-form decoding counts on the CPU, whatever device is the default
        result = model.generate(**audio, language=language, task="transcribe", max_new_tokens=10, **settings)
    return result if isinstance(result, dict) else {"sequences": result}


def alone(model, processor, mode: str, audio: dict[str, torch.Tensor], languages: list[str]):
    """Each row alone; where decoding is random, in a batch of its language, with the same random numbers."""
    for index, language in enumerate(languages):
        if mode in SAMPLED:
            result = generate(model, processor, mode, audio, language)
            yield {name: value[index : index + 1] for name, value in result.items()}
        else:
            single = tiny.row(audio, index)
            if audio["attention_mask"].shape[1] > 100 * tiny.WINDOW_SECONDS:
                # Long-form Whisper stops at a row's end in a batch, but decodes a single row's padding too.
                length = int(single["attention_mask"].sum())
                single = {name: tensor[..., :length] for name, tensor in single.items()}
            result = generate(model, processor, mode, single, language)
            yield result


def strip(tokens: list[int], padding: int) -> list[int]:
    while tokens and tokens[-1] == padding:
        tokens = tokens[:-1]
    return tokens
