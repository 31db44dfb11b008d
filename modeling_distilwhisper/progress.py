"""Progress bars that tell what a person waits for: loss, gates, error rate, time left."""

from tqdm.auto import tqdm
from transformers import ProgressCallback
from transformers.trainer_utils import has_length

SHOWN = {
    "loss": "loss",
    "kd_loss": "kd",
    "encoder_openness": "open enc",
    "decoder_openness": "open dec",
    "eval_wer": "val WER",
}


class ProgressBars(ProgressCallback):
    """Transformers' bar over the steps, with the newest figures behind it instead of a line for each."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        self.figures: dict[str, str] = {}
        if self.training_bar is not None:
            self.training_bar.set_description("Training")

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None:
            self.figures |= {short: f"{logs[name]:.3g}" for name, short in SHOWN.items() if name in (logs or {})}
            self.training_bar.set_postfix_str(", ".join(f"{name} {value}" for name, value in self.figures.items()))

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if state.is_world_process_zero and has_length(eval_dataloader) and self.prediction_bar is None:
            self.prediction_bar = tqdm(total=len(eval_dataloader), desc="Scoring", leave=False, dynamic_ncols=True)
        super().on_prediction_step(args, state, control, eval_dataloader, **kwargs)
