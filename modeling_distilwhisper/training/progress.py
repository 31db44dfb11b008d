"""Progress bars that show the loss, the expert usage, the error rate and the time left."""

from tqdm.auto import tqdm
from transformers import ProgressCallback
from transformers.trainer_utils import has_length

# Short, or a narrow window would cut them off.
FORMATS = {
    "loss": "loss {:.3g}",
    "kd_loss": "kd {:.2g}",
    "encoder_expert_usage": "experts enc {:.2f}",
    "decoder_expert_usage": "dec {:.2f}",
    "eval_wer": "WER {:.2f}",
}


class ProgressBars(ProgressCallback):
    """The bar of Transformers over the steps, with the newest figures after it instead of a line for each."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self.figures: dict[str, str] = {}
        self.current_step = state.global_step
        if self.training_bar is not None:
            # The earlier steps of a resumed run took none of this time.
            self.training_bar.initial = self.training_bar.n = self.training_bar.last_print_n = state.global_step
            self.training_bar.set_description("Training")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None:
            self.figures |= {name: form.format(logs[name]) for name, form in FORMATS.items() if name in (logs or {})}
            self.training_bar.set_postfix_str(" ".join(self.figures[name] for name in FORMATS if name in self.figures))

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if state.is_world_process_zero and has_length(eval_dataloader) and self.prediction_bar is None:
            self.prediction_bar = tqdm(total=len(eval_dataloader), desc="Scoring", leave=False, dynamic_ncols=True)
        super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)
