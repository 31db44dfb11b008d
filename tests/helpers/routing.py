"""One routed layer, and batches for a model."""

import torch

from modeling_distilwhisper.routing_distilwhisper import Routing

from . import tiny


def make_routing(rows, **settings):
    """A routing from the indices of each language's rows, `None` for all rows."""
    indices = {language: None if numbers is None else torch.tensor(numbers) for language, numbers in rows.items()}
    return Routing(indices, **settings)


def layer_of(model):
    return model.model.encoder.layers[0]


def labels_in(model, languages, length=8):
    ids = [model.generation_config.lang_to_id[f"<|{language}|>"] for language in languages]
    generator = torch.Generator().manual_seed(2)
    text = torch.randint(0, 200, (len(ids), length - 1), generator=generator, device="cpu")
    return torch.cat([torch.tensor(ids)[:, None], text.to(torch.get_default_device())], dim=1)


def example(model, languages=("gl", "gl")):
    batch = tiny.make_audio(tiny.make_processor(), [1.0] * len(languages))
    return batch, labels_in(model, languages)
