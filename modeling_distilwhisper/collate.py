"""Rows to a batch: log-mel features and labels with the prompt that names each row's language."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperProcessor, WhisperTokenizer

from .audio import SAMPLING_RATE, read_audio
from .losses import IGNORED


@dataclass
class SpeechCollator:
    """Makes a training batch. Features are computed here, in the data loader's workers, and never stored.

    Args:
        processor: the model's.
        task: "transcribe" or "translate", the task token of every row.
        extra: given the rows, their samples and the padded labels, adds what else the batch is to hold.
    """

    processor: WhisperProcessor
    task: str = "transcribe"
    extra: Callable[[list[dict], list[np.ndarray], torch.Tensor], dict[str, torch.Tensor]] | None = None

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Rows with `audio` (a path, or as a reader makes it), `text` and `language` to a batch.

        Returns:
            `input_features` `(batch, mel bins, frames)`, `attention_mask` `(batch, frames)`, 1 where there is audio,
            `labels` `(batch, tokens)`: language, task, `<|notimestamps|>`, text, end token, padded with -100.

        Raises:
            ValueError: a language or task that the vocabulary has no token for.
        """
        samples = [read_audio(row["audio"]) for row in rows]
        features = self.processor.feature_extractor(
            samples,
            sampling_rate=SAMPLING_RATE,
            return_attention_mask=True,
            return_tensors="pt",
        )
        labels = [
            torch.tensor(label_ids(self.processor.tokenizer, row["text"], row["language"], self.task)) for row in rows
        ]
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        added = {} if self.extra is None else self.extra(rows, samples, padded)
        return {**features, "labels": padded, **added}


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
