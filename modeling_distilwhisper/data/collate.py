"""Rows to a batch: log-mel features and labels with the prompt that names each row's language."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperProcessor

from .audio import SAMPLING_RATE, read_audio
from .labels import IGNORED, label_ids


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
