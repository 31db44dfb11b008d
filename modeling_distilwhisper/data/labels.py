"""Label ids of a transcript: the prompt that names its language, the text, and the label that losses ignore."""

from transformers import WhisperTokenizer

IGNORED = -100  # the label of padding, in every loss of Transformers and PyTorch


def label_ids(tokenizer: WhisperTokenizer, text: str, language: str, task: str = "transcribe") -> list[int]:
    """A row's target: language, task, `<|notimestamps|>`, text, end token. The model puts the start token in front.

    Raises:
        ValueError: a language or task that the vocabulary has no token for.
    """
    prompt = [_special(tokenizer, f"<|{name}|>") for name in (language, task, "notimestamps")]
    # A space in front, as Whisper itself writes: without it the first word is spelt by tokens it seldom uses there.
    return [*prompt, *tokenizer(f" {text}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def _special(tokenizer: WhisperTokenizer, token: str) -> int:
    index = tokenizer.convert_tokens_to_ids(token)
    if index is None or index == tokenizer.unk_token_id:
        raise ValueError(f"The vocabulary has no {token}. Expected a language and task that this Whisper knows.")
    return index
