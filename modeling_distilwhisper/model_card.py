"""Model cards."""

from pathlib import Path

from .expert_file_distilwhisper import expert_file_name
from .modeling_distilwhisper import DistilWhisperForConditionalGeneration


def sizes(model: DistilWhisperForConditionalGeneration, folder: str | Path) -> dict:
    """Parameters of the backbone, and of each language's experts and gates, and the bytes of its file in `folder`."""
    backbone = sum(weights.numel() for name, weights in model.named_parameters() if ".experts." not in name)
    experts = {}
    for language in model.config.languages:
        own = model.experts_of(language).values()
        experts[language] = {
            "parameters": sum(weights.numel() for expert in own for weights in expert.parameters()),
            "bytes": Path(folder, expert_file_name(language)).stat().st_size,
        }
    return {"backbone": backbone, "experts": experts}
