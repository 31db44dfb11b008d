"""Numbers that a model can compute with. Others, infinity, NaN or too large for half precision, are refused."""

import torch

LARGEST = torch.finfo(torch.float16).max  # no trained weight comes near it; beyond, half precision has infinity only
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
THRESHOLD = ".gate.threshold"  # ends the names of gates' thresholds, which are minus infinity before training


def check_numbers(where: str, tensors: dict[str, torch.Tensor], largest: float = LARGEST) -> None:
    """Checks that all floating-point tensors hold finite numbers, up to `largest`. Quantised ones are not looked at.

    Args:
        where: begins the message: what the tensors are of.

    Raises:
        ValueError: a tensor holds others; the message names it.
    """
    for key, tensor in tensors.items():
        tensor = tensor.detach()
        is_plain = type(tensor) is torch.Tensor and tensor.dtype in FLOATS and tensor.device.type != "meta"
        if not is_plain or tensor.numel() == 0:
            continue
        low, high = (end.item() for end in tensor.aminmax())  # NaN if one number is; takes no memory
        is_fresh = key.endswith(THRESHOLD) and low == high == -torch.inf
        if is_fresh or -largest <= low <= high <= largest:
            continue
        if -torch.inf < low <= high < torch.inf:
            raise ValueError(
                f"{where}: {key} holds numbers from {low:g} to {high:g}, expected none over {largest:g}: they overflow "
                "in half precision."
            )
        raise ValueError(f"{where}: {key} holds NaN or infinity, expected finite numbers.")


__all__ = ["check_numbers"]
