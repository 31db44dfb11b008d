"""A tiny model with experts of languages that Whisper has no token for."""

import torch
from helpers import tiny

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

OWN = ["ga", "gl-AO", "x-clinic"]
STARTS = {"ga": "fr", "x-clinic": {"gl": 0.25, "ru": 0.75}}


def make_several(folder) -> DistilWhisperForConditionalGeneration:
    """Experts of gl and of three names without a token, all as if they had been trained."""
    model = DistilWhisperForConditionalGeneration.from_whisper(folder, ["gl", *OWN], init_from=STARTS).eval()
    tiny.unsettle(model)
    with torch.no_grad():
        for seed, name in enumerate(OWN):
            embedding = model.modules_of(name).parts.embedding
            embedding += torch.randn(embedding.shape, generator=torch.Generator().manual_seed(seed))
    return model
