"""Rows to a batch: log-mel features and labels with the prompt that names each row's language."""

from dataclasses import dataclass

import torch
from transformers import WhisperProcessor

from .audio import SAMPLING_RATE, read_audio
from .losses import IGNORED


@dataclass
class SpeechCollator:
    """Makes a training batch. Features are computed here, in the data loader's workers, and never stored.

    Args:
        processor: the model's.
        task: "transcribe" or "translate", the task token of every row.
    """

    processor: WhisperProcessor
    task: str = "transcribe"

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Rows with `audio` (path), `text` and `language` to a batch.

        Returns:
            `input_features` `(batch, mel bins, frames)`, `attention_mask` `(batch, frames)`, 1 where there is audio,
            `labels` `(batch, tokens)`: language, task, `<|notimestamps|>`, text, end token, padded with -100.

        Raises:
            ValueError: a language or task that the vocabulary has no token for.
        """
        features = self.processor.feature_extractor(
            [read_audio(row["audio"]) for row in rows],
            sampling_rate=SAMPLING_RATE,
            return_attention_mask=True,
            return_tensors="pt",
        )
        labels = [torch.tensor(self.labels(row["text"], row["language"])) for row in rows]
        padded = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORED)
        return {**features, "labels": padded}

    def labels(self, text: str, language: str) -> list[int]:
        tokenizer = self.processor.tokenizer
        prompt = [self._special(f"<|{name}|>") for name in (language, self.task, "notimestamps")]
        # A space in front, as Whisper itself writes: without it the first word is spelt by tokens it seldom uses there.
        return [*prompt, *tokenizer(f" {text}", add_special_tokens=False).input_ids, tokenizer.eos_token_id]

    def _special(self, token: str) -> int:
        index = self.processor.tokenizer.convert_tokens_to_ids(token)
        if index is None or index == self.processor.tokenizer.unk_token_id:
            raise ValueError(f"The vocabulary has no {token}. Expected a language and task that this Whisper knows.")
        return index
