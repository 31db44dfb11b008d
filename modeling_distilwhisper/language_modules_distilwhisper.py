"""All modules of one language: the experts of its layers, and what it has in the decoder beside them."""

from dataclasses import dataclass

import torch
from torch import nn

from .expert_layers_distilwhisper import LanguageExpert

LayerKey = tuple[str, int]  # "encoder" or "decoder", and the layer's index


class LanguageParts(nn.Module):
    """What a language has in the decoder beside its layers' experts.

    Args:
        d_model: the model's width.
        embedding: whether it has a token of its own.
        detection: whether it has a trained detection row.

    Attributes:
        embedding: `(d_model,)`, of its token; `None` if Whisper has a token for it.
        detection_weight, detection_bias: `(d_model,)` and `(1,)`: the language's logit from Whisper's detection state;
            `None` if they are not trained.
    """

    def __init__(self, d_model: int, *, embedding: bool, detection: bool):
        super().__init__()
        self.embedding = nn.Parameter(torch.zeros(d_model)) if embedding else None
        # Not trained with the experts: a regression fits them.
        self.detection_weight = nn.Parameter(torch.zeros(d_model), requires_grad=False) if detection else None
        self.detection_bias = nn.Parameter(torch.zeros(1), requires_grad=False) if detection else None


@dataclass
class LanguageModules:
    """All modules of one language.

    Attributes:
        experts: of each layer.
        parts: what the language has in the decoder beside them; `None`: nothing.
        relative: the language that it was started from, if Whisper has no token for it.
    """

    experts: dict[LayerKey, LanguageExpert]
    parts: LanguageParts | None = None
    relative: str | None = None

    def by_prefix(self, language: str) -> dict[str, nn.Module]:
        """The modules, by what the names of their tensors begin with in a `DistilWhisperForConditionalGeneration`."""
        modules: dict[str, nn.Module] = {
            f"model.{side}.layers.{index}.experts.{language}.": expert for (side, index), expert in self.experts.items()
        }
        return modules if self.parts is None else modules | {f"model.decoder.experts.{language}.": self.parts}

    def tensors(self, language: str) -> dict[str, torch.Tensor]:
        """The tensors of a language under the names that they have in its file."""
        return {
            prefix + name: tensor
            for prefix, module in self.by_prefix(language).items()
            for name, tensor in module.state_dict().items()
        }


__all__ = ["LanguageModules", "LanguageParts", "LayerKey"]
