"""Label ids of a transcript: the prompt with its language, then the text. Also the label that losses ignore."""

from transformers import WhisperTokenizer

NO_TIMESTAMPS = "<|notimestamps|>"
IGNORED = -100  # the label of padding, in every loss of Transformers and PyTorch


def label_ids(tokenizer: WhisperTokenizer, text: str, language: str, task: str = "transcribe") -> list[int]:
    """Label ids of a row: language, task, `<|notimestamps|>`, text, end token. The model adds the start token itself.

    Raises:
        ValueError: the vocabulary has no token for the language or the task.
    """
    prompt = [_control_token(tokenizer, token) for token in (f"<|{language.lower()}|>", f"<|{task}|>", NO_TIMESTAMPS)]
    # Whisper writes a space in front of the first word. Without it, the word would be made of other tokens.
    return [*prompt, *tokenizer(f" {text}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def _control_token(tokenizer: WhisperTokenizer, token: str) -> int:
    index = tokenizer.convert_tokens_to_ids(token)
    if not isinstance(index, int) or index == tokenizer.unk_token_id:
        raise ValueError(f"The vocabulary has no {token}. Expected a language and task that this Whisper knows.")
    return index
