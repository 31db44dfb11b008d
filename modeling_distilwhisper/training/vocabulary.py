"""The student's tokens in the teacher's vocabulary: large-v3 has one more language, so later ids are larger."""

from typing import Any

import torch
from transformers import WhisperConfig, WhisperTokenizer

from ..language_names_distilwhisper import related_language
from ..languages_distilwhisper import known_languages

LAST_BEFORE_TIMESTAMPS = "<|notimestamps|>"  # timestamps follow it, whether or not a tokenizer lists them


def token_map(
    student: WhisperTokenizer, student_size: int, teacher: WhisperTokenizer, teacher_size: int
) -> torch.Tensor:
    """The id of each of the student's tokens in the teacher's vocabulary.

    Args:
        student, teacher: the tokenizers.
        student_size, teacher_size: the models' `vocab_size`; a tokenizer may list fewer tokens.

    Returns:
        `(student_size,)`, -1 for control tokens that the teacher lacks, such as a language's.

    Raises:
        ValueError: the teacher lacks some of the student's text tokens: it is no multilingual Whisper.
    """
    student_ids, teacher_ids = student.get_vocab(), teacher.get_vocab()
    mapped = torch.full((student_size,), -1)
    for token, index in student_ids.items():
        if index < student_size:
            teacher_index = teacher_ids.get(token, -1)
            mapped[index] = teacher_index if teacher_index < teacher_size else -1
    first, teacher_first = (_first_timestamp(tokenizer) for tokenizer in (student, teacher))
    timestamps = min(student_size - first, teacher_size - teacher_first)
    mapped[first : first + timestamps] = torch.arange(teacher_first, teacher_first + timestamps)
    text = {token for token, index in student_ids.items() if index < first and not token.startswith("<|")}
    missing = sorted(token for token in text if mapped[student_ids[token]] < 0)
    if missing:
        raise ValueError(
            f"The teacher's vocabulary lacks {len(missing)} of the student's {len(text)} text tokens, such as "
            f"{missing[0]!r}. Expected a multilingual Whisper, such as whisper-large-v2 or whisper-large-v3."
        )
    return mapped


def own_token_map(student: WhisperConfig, teacher) -> dict[int, int]:
    """The teacher's token for each of the student's languages that Whisper has no token for.

    Args:
        student: the student's config, which names the relative that each of these languages was started from.
        teacher: any Whisper.

    Returns:
        Token id of the student -> the teacher's token of this language, of the relative, or of the language that the
        name says more about (`de` of `de-CH`); -1 if it has none of them.
    """
    relatives = getattr(student, "language_relatives", None) or {}
    own: dict[int, str] = getattr(student, "own_tokens", {})
    theirs = known_languages(teacher) if own else {}
    found = {token: related_language(name, relatives, theirs) for token, name in own.items()}
    return {token: -1 if name is None else theirs[name] for token, name in found.items()}


def _first_timestamp(tokenizer: WhisperTokenizer) -> int:
    last_before: Any = tokenizer.convert_tokens_to_ids(LAST_BEFORE_TIMESTAMPS)
    return last_before + 1
