"""Each row counts once, in training and in scoring, however many processes share the rows."""

from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Subset
from transformers import Seq2SeqTrainer, WhisperProcessor
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from ..data.collate import LOSS_WEIGHTS
from ..data.labels import IGNORED
from ..evaluation.gates import measure_expert_usage
from ..languages_distilwhisper import language_of_token
from .arguments import DistilWhisperTrainingArguments
from .losses import LEAST_TOKENS, count_tokens, cross_entropy


class EachRowOnce(Seq2SeqTrainer):
    """A trainer whose figures are the same with one process and with several.

    Processes take batches in turn. So that all have as many, of the same size, accelerate fills the last ones with rows
    from the start: padding rows. In training they lose their labels here, and so their part in the loss and in the
    counts. In scoring they are dropped. Rows whose weight in the loss is 0 are padding rows too.

    It overrides these private methods of `Trainer`: `_get_dataloader`, `_finalize_training`. It reads `_gen_kwargs`.
    """

    args: DistilWhisperTrainingArguments
    train_dataset: Any
    processing_class: WhisperProcessor
    # How many batches of this step hold a row that counts: the mean over all processes.
    _batches_of_step: float = 1.0
    # While rows are scored: of each batch of all processes `(rows, 3)`, the summed loss of each row, the number of its
    # tokens, and the first of them, which names its language.
    _row_losses: list[torch.Tensor] | None = None

    def _get_dataloader(self, dataset, description, batch_size, sampler_fn=None, is_training=False, **kwargs):
        """
        Raises:
            ValueError: several processes share the rows in a way that does not tell which are padding rows.
        """
        if self.accelerator.num_processes > 1:
            if not self.accelerator.even_batches:
                raise ValueError(
                    "--accelerator_config: with several processes even_batches must be true, got false: a process "
                    "with fewer batches than the others would end while they wait for it."
                )
            if isinstance(dataset, IterableDataset) and self.accelerator.dispatch_batches is False:
                raise ValueError(
                    "--accelerator_config: with several processes and a data set without a length, dispatch_batches "
                    "must be true or left out, got false: some rows would count twice."
                )
        drop_last = self.args.dataloader_drop_last
        self.args.dataloader_drop_last = drop_last and is_training  # a score is one of all rows
        try:
            return super()._get_dataloader(dataset, description, batch_size, sampler_fn, is_training, **kwargs)
        finally:
            self.args.dataloader_drop_last = drop_last

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The batches of a step in this process, without the labels of padding rows; and the step's labels, counted."""
        batches = list(islice(epoch_iterator, num_batches))
        if batches and self.accelerator.gradient_state.end_of_dataloader:
            rows = self._rows_of_last_batches()
            if rows > 0:
                batches[-1] = self._without_padding_rows(batches[-1], rows)
        batches = [
            self._without_rows(batch, batch[LOSS_WEIGHTS] == 0) if LOSS_WEIGHTS in batch else batch for batch in batches
        ]
        real = sum(bool((batch["labels"] != IGNORED).any()) for batch in batches)
        counted = torch.tensor(float(real), device=self.accelerator.device)
        self._batches_of_step = max(float(self.accelerator.reduce(counted, "mean")), 1e-9)
        return batches, self._count_tokens(batches, device) if batches else None

    def _count_tokens(self, batches: list, device: torch.device) -> torch.Tensor:
        """The target tokens of a step: of all processes, or of this one without `average_tokens_across_devices`. Each
        counts as often as the weight of its row says.

        Some releases of Transformers leave out the first token of each row, which is a target here.
        """
        counts = [count_tokens(batch["labels"], batch.get(LOSS_WEIGHTS)) for batch in batches]
        count = torch.stack(counts).sum().to(device)
        if self.args.average_tokens_across_devices and self.accelerator.num_processes > 1:
            count = self.accelerator.reduce(count, "sum")
        return count.clamp(min=LEAST_TOKENS) if count.is_floating_point() else count

    def _rows_of_last_batches(self) -> int:
        """How many rows of an epoch's last batches, of all processes together, count; 0 or less: all of them."""
        if isinstance(self.train_dataset, IterableDataset) or self.accelerator.dispatch_batches:
            return self.accelerator.gradient_state.remainder
        if self.args.dataloader_drop_last:
            return 0
        # accelerate's number is that of one process, where a run was resumed within an epoch.
        shares = 1 if self.accelerator.split_batches else self.accelerator.num_processes
        return len(self.train_dataset) % (self._train_batch_size * shares)

    def _without_padding_rows(self, batch: dict[str, torch.Tensor], rows: int) -> dict[str, torch.Tensor]:
        """The last batch of an epoch, in which padding rows have no labels and no audio.

        Args:
            batch: this process's.
            rows: how many rows count, in the batches of all processes together.
        """
        labels = batch["labels"]
        is_padding = torch.arange(len(labels), device=labels.device) >= (
            rows - self.accelerator.process_index * len(labels)
        )
        return self._without_rows(batch, is_padding)

    def _without_rows(self, batch: dict[str, torch.Tensor], is_left_out: torch.Tensor) -> dict[str, torch.Tensor]:
        """The batch, in which the rows of a mask `(batch,)` have no labels and no audio."""
        if not is_left_out.any():
            return batch
        config, labels = self.model.config, batch["labels"]
        # Of all labels: a row that is left out runs through the model too, in its language.
        inputs = shift_tokens_right(labels, config.pad_token_id, config.decoder_start_token_id)
        batch = {
            "decoder_input_ids": inputs,  # unless they are there: some labels are gone already
            **batch,
            "labels": labels.masked_fill(is_left_out[:, None], IGNORED),
        }
        if "attention_mask" in batch:
            batch["attention_mask"] = batch["attention_mask"].masked_fill(is_left_out[:, None], 0)
        return batch

    def _finalize_training(self, trial, num_train_samples, start_time):
        # `Trainer` adds the losses since the last line of the log as this process has them.
        self._tr_loss = self.accelerator.reduce(self._tr_loss, "mean")
        return super()._finalize_training(trial, num_train_samples, start_time)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None, **gen_kwargs):
        """Loss, transcripts and labels of a batch; each row is transcribed in the language that its labels name."""
        inputs = self._prepare_inputs(inputs)
        inputs["input_features"] = inputs["input_features"].to(self.model.dtype)  # a teacher may be in half precision
        labels = inputs["labels"]
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(**inputs, use_cache=False)
            smoothing = self.args.label_smoothing_factor
            targets = self.model.without_own_tokens(labels) if self.is_routed else labels
            sums = [
                cross_entropy(row_logits, row_labels, label_smoothing=smoothing, num_items=1)
                for row_logits, row_labels in zip(outputs.logits[:, None], targets[:, None], strict=True)
            ]
        rows = torch.stack([torch.stack(sums).float(), (targets != IGNORED).sum(dim=1), labels[:, 0]], dim=1)
        if self._row_losses is not None:
            self._row_losses.append(self.accelerator.gather_for_metrics(rows).cpu())
        loss = rows[:, 0].sum() / rows[:, 1].sum().clamp(min=1)
        if prediction_loss_only or not self.args.predict_with_generate:
            return loss, None, None
        settings = getattr(self, "_gen_kwargs", {}) | gen_kwargs
        transcripts = self.model.generate(
            inputs["input_features"],
            attention_mask=inputs.get("attention_mask"),
            language=self.processing_class.tokenizer.convert_ids_to_tokens(labels[:, 0].tolist()),
            task=getattr(self.data_collator, "task", "transcribe"),
            **{name: value for name, value in settings.items() if value is not None},
        )
        return loss, transcripts, labels

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """As of `Trainer`, of each row once. The loss is the mean over all tokens, whatever the batches are.

        Each language has a loss of its own, as `<prefix>_loss_gl`. Rows whose loss is not finite are left out, and
        counted as `<prefix>_rows_not_finite`.
        """
        self.gather_function = self.accelerator.gather_for_metrics  # `Seq2SeqTrainer` keeps the padding rows
        self._row_losses = []
        try:
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            losses = torch.cat(self._row_losses).double()
        finally:
            self._row_losses = None
        is_finite = losses[:, 0].isfinite()
        metrics: dict[str, Any] = output.metrics
        metrics.pop(f"{metric_key_prefix}_loss", None)
        if not is_finite.all():
            metrics[f"{metric_key_prefix}_rows_not_finite"] = int((~is_finite).sum())
        if is_finite.any():
            loss = f"{metric_key_prefix}_loss"
            metrics = {
                loss: _mean_loss(losses[is_finite]),
                **self._losses_by_language(losses[is_finite], loss),
                **metrics,
            }
        return output._replace(metrics=metrics)

    def _losses_by_language(self, losses: torch.Tensor, name: str) -> dict[str, float]:
        known = getattr(self.model.generation_config, "lang_to_id", None) or {}  # a Whisper for English has none
        first = losses[:, 2].long()
        present = set(first.tolist())
        return {
            f"{name}_{language_of_token(token)}": _mean_loss(losses[first == number])
            for token, number in known.items()
            if number in present
        }

    def measure_expert_usage(self, rows) -> dict[str, float]:
        """The expert usage at inference of these rows, in the form of `measure_expert_usage`.

        Args:
            rows: a data set; every process gets all of it, and measures a part.
        """
        here = range(self.accelerator.process_index, len(rows), self.accelerator.num_processes)
        batches = DataLoader(Subset(rows, here), batch_size=self.args.eval_batch_size, collate_fn=self.data_collator)
        return measure_expert_usage(self.model, map(self._prepare_inputs, batches))


def _mean_loss(losses: torch.Tensor) -> float:
    total, tokens, _ = losses.sum(dim=0).tolist()
    return total / max(tokens, 1)
