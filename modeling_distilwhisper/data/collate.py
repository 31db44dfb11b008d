"""Rows to a training batch: log-mel features, and labels whose prompt names the language of each row."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from transformers import WhisperProcessor

from .labels import IGNORED, label_ids
from .mono import SAMPLING_RATE
from .samples import samples_of_row

LOSS_WEIGHTS = "loss_weights"


@dataclass
class SpeechCollator:
    """Makes a training batch of rows. It computes the features, so that workers of a data loader can do it.

    Args:
        processor: the model's processor.
        task: "transcribe" or "translate", the task token of every row.
        extra: gets the rows, their samples and the padded labels; returns further tensors of the batch by name.
        augment: changes samples before features are made of them, such as an `Augmentation`. `extra` gets them
            unchanged.
        weigh: whether batches have the `loss_weight` of their rows, in `loss_weights`.

    Example:
        >>> from modeling_distilwhisper import SpeechCollator, load_processor, read_folder
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test", "ca")
        >>> collate = SpeechCollator(load_processor("examples/quickstart/student"))
        >>> batch = collate([rows[0], rows[1]])
        >>> {name: tuple(tensor.shape) for name, tensor in batch.items()}
        {'input_features': (2, 80, 300), 'attention_mask': (2, 300), 'labels': (2, 16)}
    """

    processor: WhisperProcessor
    task: str = "transcribe"
    extra: Callable[[list[dict], list[np.ndarray], torch.Tensor], dict[str, torch.Tensor]] | None = None
    augment: Callable[[np.ndarray], np.ndarray] | None = None
    weigh: bool = False

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Makes the batch.

        Args:
            rows: with `audio` (what `read_audio` takes, or samples at 16 kHz), `text` and `language`.

        Returns:
            `input_features` `(batch, mel bins, frames)`, `attention_mask` `(batch, frames)`, 1 in frames with audio,
            and `labels` `(batch, tokens)`: language, task, `<|notimestamps|>`, text, end token, padded with -100. With
            `weigh`, and rows that have a `loss_weight`, also `loss_weights` `(batch,)`.

        Raises:
            ValueError: the vocabulary has no token for a row's language or for the task; or audio cannot be read.
        """
        samples = [samples_of_row(row["audio"]) for row in rows]
        features = self.processor.feature_extractor(
            samples if self.augment is None else [self.augment(clip) for clip in samples],
            sampling_rate=SAMPLING_RATE,
            return_attention_mask=True,
            return_tensors="pt",
        )
        labels = [
            torch.tensor(label_ids(self.processor.tokenizer, row["text"], row["language"], self.task)) for row in rows
        ]
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        added = {} if self.extra is None else self.extra(rows, samples, padded)
        if self.weigh and any("loss_weight" in row for row in rows):
            added = {**added, LOSS_WEIGHTS: torch.tensor([float(row.get("loss_weight", 1)) for row in rows])}
        return {**features, "labels": padded, **added}
