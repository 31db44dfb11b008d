"""Ends a text that has begun to repeat itself: a decoder in a loop writes on to the longest text that it may write."""

import torch
from transformers import StoppingCriteria
from transformers.models.whisper.tokenization_whisper import WhisperTokenizer

from ..evaluation.metrics import begins_loop

EVERY = 16  # tokens; more often costs more than it saves


class EndOfLoops(StoppingCriteria):
    """Ends each row of a batch whose text repeats itself, for `generate`.

    What it ends would count as a loop at its full length too (`has_loop`), so it changes no other text.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: WhisperTokenizer):
        self.tokenizer = tokenizer
        self.before: int | None = None  # how many tokens stand before the text; a prompt may repeat itself

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs) -> torch.BoolTensor:
        """`(rows, tokens)` to `(rows,)`: whether a row ends here. The first call is that after the first token."""
        if self.before is None:
            self.before = input_ids.shape[1] - 1
        ended = torch.zeros(len(input_ids), dtype=torch.bool)
        if (input_ids.shape[1] - self.before) % EVERY == 0:
            texts = self.tokenizer.batch_decode(input_ids[:, self.before :], skip_special_tokens=True)
            ended = torch.tensor([begins_loop(text.lstrip()) for text in texts])
        return ended.to(input_ids.device)  # type: ignore[return-value]
