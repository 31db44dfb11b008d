"""When each word is spoken, from the cross-attention of the decoder, as Whisper's own repository finds it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import WhisperProcessor
from transformers.generation import GenerateEncoderDecoderOutput
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.tokenization_whisper import LANGUAGES, _combine_tokens_into_words

from .segments import Word


def can_align(model) -> bool:
    """Whether a model says which heads of its attention follow the speech."""
    return bool(getattr(model.generation_config, "alignment_heads", None))


def align_words(
    model,
    processor: WhisperProcessor,
    encoded: torch.Tensor,
    frames: Sequence[int],
    texts: Sequence[list[int]],
    languages: Sequence[str],
    task: str,
) -> list[list[Word]]:
    """The words of each window, with times from its start.

    A window is aligned alone: in a batch, the padding of its text would take a share of its time.

    Args:
        model: a multilingual Whisper for which `can_align`.
        processor: the model's.
        encoded: hidden states of the encoder `(windows, frames, d_model)`.
        frames: of each window, of 10 ms, without its padding.
        texts: token ids of each window.
        languages: of each window.
        task: "transcribe" or "translate".
    """
    heads, tokenizer = model.generation_config.alignment_heads, processor.tokenizer
    aligned: list[list[Word]] = []
    with _eager_attention(model):
        for index, (text, language) in enumerate(zip(texts, languages, strict=True)):
            names = ["<|startoftranscript|>", f"<|{language}|>", f"<|{task}|>", "<|notimestamps|>"]
            prompt = tokenizer.convert_tokens_to_ids(names)
            starts = _token_starts(model, encoded[index : index + 1], frames[index], prompt, text, heads)
            words, _, positions = _combine_tokens_into_words(tokenizer, text, LANGUAGES.get(language, language))
            edges = [starts[indices[0]] for indices in positions] + starts[-1:]
            timed = zip(edges, edges[1:], words, strict=False)
            aligned.append([Word(start, end, word.strip()) for start, end, word in timed if word.strip()])
    return aligned


def _token_starts(model, encoded: torch.Tensor, frames: int, prompt: list[int], text: list[int], heads) -> list[float]:
    """When each token of a text begins, and when the last one ends, in seconds."""
    ids = torch.tensor([[*prompt, *text]], device=model.device)
    with _cross_attention(model, {layer for layer, _ in heads}) as attention:
        model.model(encoder_outputs=BaseModelOutput(encoded), decoder_input_ids=ids, use_cache=False)
    other = next(iter(attention.values()))  # in place of layers that nobody asks for
    weights = tuple(attention.get(layer, other) for layer in range(model.config.decoder_layers))
    # The attention at a token decides the next one, so that at the prompt's last token counts.
    before = len(prompt) - 1
    output = GenerateEncoderDecoderOutput(sequences=ids, cross_attentions=(weights,))
    starts = model._extract_token_timestamps(output, heads, num_frames=frames, num_input_ids=before)
    return starts[0, before : before + len(text) + 1].tolist()


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
