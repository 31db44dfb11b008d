"""One Whisper's vocabulary in terms of another's: large-v3 has a language more, which moves every token behind it."""

import torch
from transformers import WhisperTokenizer

NO_TIMES = "<|notimestamps|>"  # the times follow it, whether or not a tokenizer lists them


def vocabulary_map(ours: WhisperTokenizer, size: int, theirs: WhisperTokenizer, their_size: int) -> torch.Tensor:
    """Where each of our tokens is in another Whisper's vocabulary.

    Args:
        size, their_size: the models' `vocab_size`; a tokenizer may list fewer.

    Returns:
        `(size,)`, -1 for control tokens that the other has not, such as a language's.

    Raises:
        ValueError: the other has not all tokens of text that we have: it is no multilingual Whisper.
    """
    our_ids, their_ids = ours.get_vocab(), theirs.get_vocab()
    places = torch.full((size,), -1)
    for token, index in our_ids.items():
        if index < size:
            place = their_ids.get(token, -1)
            places[index] = place if place < their_size else -1
    first, their_first = (tokenizer.convert_tokens_to_ids(NO_TIMES) + 1 for tokenizer in (ours, theirs))
    times = min(size - first, their_size - their_first)
    places[first : first + times] = torch.arange(their_first, their_first + times)
    text = {token for token, index in our_ids.items() if index < first and not token.startswith("<|")}
    missing = sorted(token for token in text if places[our_ids[token]] < 0)
    if missing:
        raise ValueError(
            f"The teacher's vocabulary lacks {len(missing)} of the student's {len(text)} tokens of text, such as "
            f"{missing[0]!r}. Expected a multilingual Whisper, such as whisper-large-v2 or whisper-large-v3."
        )
    return places
