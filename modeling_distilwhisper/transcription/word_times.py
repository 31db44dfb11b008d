"""A text that is read back to the model: when each word is spoken, and how probable it is.

The times are those of the decoder's cross-attention, as Whisper's own repository finds them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import WhisperProcessor
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from ..language_names_distilwhisper import nearest_language
from ..languages_distilwhisper import known_languages
from .alignment import token_starts
from .heard import Heard
from .segments import Word


def can_align(model) -> bool:
    """Whether a model says which heads of its attention follow the speech."""
    return bool(getattr(model.generation_config, "alignment_heads", None))


@dataclass
class Reading:
    """What the model says of the text of a window.

    Attributes:
        words: with times from the window's start.
        avg_logprob: the mean log probability of the tokens of the text and of its end, at temperature 0; `None` if it
            was not asked for.
    """

    words: list[Word]
    avg_logprob: float | None


def read_back(
    model,
    processor: WhisperProcessor,
    heard: Heard,
    frames: Sequence[int],
    texts: Sequence[list[int]],
    languages: Sequence[str],
    task: str,
    *,
    logprobs: bool = False,
) -> list[Reading]:
    """Reads the text of each window back to the model, in one pass of the decoder.

    A window is read alone: in a batch, the padding of its text would take a share of its time.

    Args:
        model: a multilingual Whisper for which `can_align`.
        processor: the model's.
        heard: what the decoder attends to.
        frames: of each window, of 10 ms, without its padding.
        texts: token ids of each window.
        languages: of each window.
        task: "transcribe" or "translate".
        logprobs: whether they are wanted; they need the logits of all tokens.
    """
    heads, tokenizer = model.generation_config.alignment_heads, processor.tokenizer
    tokens = known_languages(model)
    readings: list[Reading] = []
    with _eager_attention(model):
        for index, (text, language) in enumerate(zip(texts, languages, strict=True)):
            start, *end = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", f"<|{task}|>", "<|notimestamps|>"])
            prompt = [start, tokens[language], *end]
            ids = torch.tensor([[*prompt, *text, tokenizer.eos_token_id]], device=model.device)
            with _cross_attention(model, {layer for layer, _ in heads}) as attention:
                inputs = {"decoder_input_ids": ids[:, :-1], "use_cache": False, **heard.window(index)}
                output = (model if logprobs else model.model)(**inputs)
            weights = torch.stack([attention[layer][0, head] for layer, head in heads])
            # The attention at a token decides the next one, so that at the prompt's last token counts.
            weights = weights[:, len(prompt) - 1 :, : frames[index] // 2]
            starts = token_starts(weights, model.config.median_filter_width)
            words, positions = words_of(tokenizer, text, language)
            edges = [starts[indices[0]] for indices in positions] + starts[-1:]
            timed = zip(edges, edges[1:], words, strict=False)
            spoken = [Word(start, end, word.strip()) for start, end, word in timed if word.strip()]
            logprob = None
            if logprobs:
                of_all = output.logits[0, len(prompt) - 1 :].float().log_softmax(-1)
                logprob = of_all.gather(1, ids[0, len(prompt) :, None]).mean().item()
            readings.append(Reading(spoken, logprob))
    return readings


def words_of(tokenizer, tokens: list[int], language: str) -> tuple[list[str], list[list[int]]]:
    """The words of a text, each with the positions of its tokens. `zh-TW` is divided as `zh` is."""
    name = LANGUAGES.get(nearest_language(language, LANGUAGES) or language, language)
    words, _, positions = _combine_tokens_into_words(tokenizer, tokens, name)
    return words, positions


@contextmanager
def _eager_attention(model) -> Iterator[None]:
    """Within it, the model's attention returns its weights, which others than the eager one do not compute."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _cross_attention(model, layers: set[int]) -> Iterator[dict[int, torch.Tensor]]:
    """Within it, the weights `(rows, heads, tokens, frames)` of some of the decoder's layers are put into a dict."""
    weights: dict[int, torch.Tensor] = {}

    def keep(layer: int):
        return lambda module, given, output: weights.__setitem__(layer, output[1].float())

    decoder = model.get_decoder()
    hooks = [decoder.layers[layer].encoder_attn.register_forward_hook(keep(layer)) for layer in layers]
    try:
        yield weights
    finally:
        for hook in hooks:
            hook.remove()
