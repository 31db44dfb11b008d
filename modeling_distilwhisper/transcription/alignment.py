"""When each token of a text is spoken: the cheapest path through the decoder's cross-attention, as Whisper's own
repository finds it (https://github.com/openai/whisper, `timing.py`). Transformers' way there goes through each cell of
the matrix in Python, which takes a tenth of the time of transcribing on a CPU."""

import numpy as np
import torch

FRAME = 0.02  # seconds of a position of the encoder


def token_starts(attention: torch.Tensor, width: int) -> list[float]:
    """The second at which each token begins.

    Args:
        attention: `(heads, tokens, frames)`, of heads that follow the speech.
        width: of the median filter along the frames, an odd number.
    """
    deviation, mean = torch.std_mean(attention, dim=-2, keepdim=True, correction=0)
    matrix = _median(((attention - mean) / deviation).nan_to_num(), width).mean(dim=0)
    return [FRAME * frame for frame in first_frames(-matrix.cpu().double().numpy())]


def _median(values: torch.Tensor, width: int) -> torch.Tensor:
    """The median of each value and its neighbours in the last dimension."""
    margin = width // 2
    if values.shape[-1] <= margin:
        return values
    padded = torch.nn.functional.pad(values, (margin, margin), mode="reflect")
    return padded.unfold(-1, width, 1).median(dim=-1).values


def first_frames(costs: np.ndarray) -> list[int]:
    """The first frame of each token on the cheapest path from the first cell to the last (dynamic time warping).

    A step of the path goes to the next token, to the next frame, or to both.

    Args:
        costs: `(tokens, frames)`.
    """
    tokens, frames = costs.shape
    if not frames:
        return [0] * tokens
    # `best[i, j]`: the costs of the cheapest path to cell (i - 1, j - 1).
    best = np.full((tokens + 1, frames + 1), np.inf)
    best[0, 0] = 0
    for i, row in enumerate(costs, start=1):
        entered = np.minimum(best[i - 1, :-1], best[i - 1, 1:])  # where the path comes from the token before
        summed = np.cumsum(row)
        # From the cheapest entry on, the path stays in the row.
        best[i, 1:] = summed + np.minimum.accumulate(entered - (summed - row))
    starts = [0] * tokens
    i, j = tokens, frames
    while i > 0 and j > 0:
        starts[i - 1] = j - 1
        both, token, frame = best[i - 1, j - 1], best[i - 1, j], best[i, j - 1]
        if both < token and both < frame:
            i, j = i - 1, j - 1
        elif token < both and token < frame:
            i -= 1
        else:
            j -= 1
    return starts
