"""A cache of a teacher's predictions, in place of the teacher."""

from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import WhisperConfig, WhisperProcessor

from ..data.labels import IGNORED, label_ids
from .cache_files import (
    HOW_TO_COMPLETE,
    HOW_TO_MAKE_ANEW,
    KEY,
    MANIFEST,
    OUTPUT,
    audio_digest,
    columns_of,
    damaged_lines,
    index_of,
    key_of,
    read_manifest,
    read_table,
    tokenizer_digests,
)
from .top_logits import TopLogits

PREFIX = "teacher_"  # of the names in a batch


class TeacherCache:
    """Gives the teacher's predictions without the teacher.

    Args:
        folder: the cache, which a `CacheWriter` wrote.

    Raises:
        ValueError: the folder holds no cache, or one of another format.

    Example:
        >>> import tempfile
        >>> from transformers import WhisperForConditionalGeneration, WhisperProcessor
        >>> from transformers.models.whisper.modeling_whisper import shift_tokens_right
        >>> from modeling_distilwhisper import SpeechCollator, TeacherCache, load_teacher, read_folder
        >>> from modeling_distilwhisper.training.cache_files import tokenizer_digest
        >>> from modeling_distilwhisper.training.cache_writer import CacheWriter, WithDigests
        >>> config = WhisperForConditionalGeneration.from_pretrained("examples/quickstart/student").config
        >>> processor = WhisperProcessor.from_pretrained("examples/quickstart/student")
        >>> teacher = load_teacher("examples/quickstart/teacher").prepare(config, processor, "cpu")
        >>> rows = read_folder("examples/quickstart/in_domain/ca", "test").select(range(2))
        >>> metadata = {"tokenizer": tokenizer_digest(processor), "vocabulary": config.vocab_size}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = CacheWriter(folder, teacher, k=8, temperatures=[1.0], metadata=metadata, data=["test"])
        ...     batch = SpeechCollator(processor, extra=WithDigests(teacher.batch_extra))(list(rows))
        ...     inputs = shift_tokens_right(batch["labels"], config.pad_token_id, config.decoder_start_token_id)
        ...     writer.write(writer.lines(list(rows), batch, inputs))
        ...     cache = TeacherCache(folder).prepare(rows, config, processor, temperature=1.0, device="cpu")
        ...     batch = SpeechCollator(processor, extra=cache.batch_extra)(list(rows))
        >>> cache.targets(batch, inputs).logits.shape == (*inputs.shape, 8)
        True
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise ValueError(
                f"{folder} holds no {MANIFEST}, so no teacher's cache. Make one with `distilwhisper cache-teacher`."
            )
        self.manifest = read_manifest(path)
        self.k: int | None = self.manifest["k"]
        self.table = read_table(self.folder, self.k)
        self.index = index_of(self.table)
        self.temperature: float | None = None
        self.output: dict[str, torch.Tensor] = {}

    def __reduce__(self):
        # A data loader's worker maps the files itself.
        return _reopen, (self.folder, self.temperature)

    def prepare(
        self, rows, student: WhisperConfig, processor: WhisperProcessor, temperature: float, device: torch.device | str
    ) -> "TeacherCache":
        """Prepares it for a temperature, and checks that it holds these rows and this vocabulary.

        Args:
            rows: the data set to be trained on, of readers' rows.
            student: the student's configuration.
            processor: the student's.
            temperature: of the distillation.
            device: the student's.

        Returns:
            The cache itself.

        Raises:
            ValueError: it does not fit; the message says what is missing or different.
        """
        columns = set(getattr(rows, "column_names", None) or ())
        if not columns.issuperset(KEY):
            raise ValueError(
                f"A teacher's cache finds rows by {', '.join(KEY)}. Expected a data set with these columns."
            )
        if self.manifest["tokenizer"] not in tokenizer_digests(processor, student.vocab_size):
            raise ValueError(f"{self.folder} was made for another tokenizer than the student's. Make a new one.")
        if self.manifest["vocabulary"] != student.vocab_size:
            raise ValueError(
                f"{self.folder} was made for a vocabulary of {self.manifest['vocabulary']} tokens, and the student's "
                f"has {student.vocab_size}. Make a new one."
            )
        if self.k and temperature not in self.manifest["temperatures"]:
            raise ValueError(
                f"{self.folder} was made for the temperatures {self.manifest['temperatures']}, not {temperature}. "
                f"Choose one of these, or make a new one with --temperatures {temperature} or, for any, with --k 0."
            )
        missing = [key for key in zip(*(rows[name] for name in KEY), strict=True) if key not in self.index]
        if missing:
            raise ValueError(
                f"{self.folder} lacks {len(missing)} of the {len(rows)} rows to train on, such as "
                f"{dict(zip(KEY, missing[0], strict=True))}. {HOW_TO_COMPLETE}"
            )
        labels = self.table["labels"].to_pylist()
        for key, text in zip(zip(*(rows[name] for name in KEY), strict=True), rows["text"], strict=True):
            if labels[self.index[key]] != label_ids(processor.tokenizer, text, key[2]):
                raise ValueError(f"The text of {key} changed since {self.folder} was made. {HOW_TO_COMPLETE}")
        if self.k is None:
            self.output = self._read_output(student.vocab_size, device)
        self._refuse_damaged_lines(student.vocab_size)
        self.temperature = temperature
        return self

    def _read_output(self, vocabulary: int, device: torch.device | str) -> dict[str, torch.Tensor]:
        path = self.folder / OUTPUT
        try:
            output = load_file(path, device=str(device))
            is_whole = len(output["weight"]) == len(output["unknown"]) == vocabulary
            is_whole = is_whole and bool(output["weight"].isfinite().all())
        except (SafetensorError, OSError, KeyError) as error:
            raise ValueError(f"{path} is damaged or missing ({error}). {HOW_TO_MAKE_ANEW}") from None
        if not is_whole:
            raise ValueError(
                f"{path} is damaged: expected the weights of {vocabulary} tokens, all finite. {HOW_TO_MAKE_ANEW}"
            )
        return output

    def _refuse_damaged_lines(self, vocabulary: int) -> None:
        if self.k:
            widths = {"ids": self.k, "logits": self.k, "rest": len(self.manifest["temperatures"])}
        else:
            widths = {"hidden": self.output["weight"].shape[1]}
        damaged = damaged_lines(self.table, widths, vocabulary)
        if damaged:
            row = {name: self.table[name][damaged[0]].as_py() for name in KEY}
            raise ValueError(
                f"{self.folder} has predictions that are not finite or not complete for {len(damaged)} rows, such as "
                f"{row}. {HOW_TO_MAKE_ANEW}"
            )

    def __call__(self, rows: list[dict], samples: list[np.ndarray], labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """The teacher's predictions for a batch, by names that begin with "teacher_".

        Returns:
            `ids` and `logits` `(batch, tokens, k)` and `rest` `(batch, tokens)`; or `hidden` `(batch, tokens,
            d_model)`.

        Raises:
            ValueError: a row's audio or labels are not those that the teacher got.
        """
        columns: dict[str, list[torch.Tensor]] = {name: [] for name, _ in columns_of(self.k)}
        for row, clip, padded_labels in zip(rows, samples, labels, strict=True):
            line = self.table.slice(self.index[key_of(row)], 1)
            row_labels = padded_labels[padded_labels != IGNORED].tolist()
            for name, before, now in (
                ("labels", line["labels"][0].as_py(), row_labels),
                ("audio", line["audio"][0].as_py(), audio_digest(clip)),
            ):
                if before != now:
                    raise ValueError(
                        f"The {name} of {key_of(row)} changed since {self.folder} was made. {HOW_TO_MAKE_ANEW}"
                    )
            for name, values in columns.items():
                flat = line[name].combine_chunks().flatten().to_numpy()
                values.append(torch.from_numpy(flat.copy()).view(len(row_labels), -1))
        padded = {name: torch.nn.utils.rnn.pad_sequence(values, batch_first=True) for name, values in columns.items()}
        if self.k:
            padded["ids"] = padded["ids"].long()
            padded["rest"] = padded["rest"][..., self.manifest["temperatures"].index(self.temperature)]
        return {PREFIX + name: values for name, values in padded.items()}

    @property
    def batch_extra(self) -> "TeacherCache":
        """A `SpeechCollator` must add this to each batch (`extra`) for `targets`."""
        return self

    def targets(self, inputs: dict[str, torch.Tensor], decoder_input_ids: torch.Tensor) -> torch.Tensor | TopLogits:
        """Logits `(batch, tokens, vocabulary)`, or the top tokens of each position, from the batch.

        Args:
            inputs: a batch, with the tensors of `batch_extra`.
            decoder_input_ids: not used; `Teacher.targets` needs them.
        """
        if self.k:
            return TopLogits(inputs[f"{PREFIX}ids"], inputs[f"{PREFIX}logits"], inputs[f"{PREFIX}rest"])
        weight, unknown = self.output["weight"], self.output["unknown"]
        logits = inputs[f"{PREFIX}hidden"].to(weight.dtype) @ weight.T
        return logits.masked_fill(unknown, -torch.inf) if unknown.any() else logits


def _reopen(folder: Path, temperature: float | None) -> TeacherCache:
    cache = TeacherCache(folder)
    cache.temperature = temperature
    return cache
