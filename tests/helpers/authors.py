"""A miniature in the layout of the method's authors, and what their layers compute, written anew as a reference."""

import copy
import json

import torch
from torch import nn
from torch.nn.functional import linear

GATE_DIM = 6
CODES = {"catalan": "ca", "galician": "gl"}


def write_checkpoint(folder, whisper, *, apart=True, **settings):
    """Their config and pickles: a plain Whisper with random experts for Catalan and Galician.

    Args:
        apart: whether each language has its file, or all weights are in one.

    Returns:
        The tensors of each language.
    """
    folder.mkdir()
    theirs = {
        "model_type": "distilwhisper",
        "clsr_gate_dim": GATE_DIM,
        "clsr_langs": [] if apart else [*CODES, "shared"],
        "clsr_residual": False,
        "gate_budget": 0.0,
        "use_gate_budget": False,
        "skip_gate_prob": 0.2,
        "transformers_version": "4.30.1",
        # as OpenAI's configs of Whisper had them then
        "forced_decoder_ids": [[1, 2], [2, 3], [3, 4]],
        "begin_suppress_tokens": [220, whisper.config.eos_token_id],
        "max_length": 448,
    }
    (folder / "config.json").write_text(json.dumps(whisper.config.to_dict() | theirs | settings))
    weights = {
        key.replace(".fc", ".ffn_clsr.proj.shared.fc"): tensor
        for key, tensor in whisper.state_dict().items()
        if key != "proj_out.weight"
    }
    experts = {name: random_experts(whisper, name, seed) for seed, name in enumerate(CODES)}
    for name, tensors in experts.items():
        if apart:
            torch.save(tensors, folder / f"expert.{name}.bin")
        else:
            weights |= tensors
    torch.save(weights, folder / "pytorch_model.bin")
    return experts


def layers(whisper):
    sides = {"encoder": whisper.model.encoder, "decoder": whisper.model.decoder}
    return {f"model.{side}.layers.{i}": layer for side, part in sides.items() for i, layer in enumerate(part.layers)}


def random_experts(whisper, name, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return 0.3 * torch.randn(shape, generator=generator)

    tensors = {}
    for prefix, layer in layers(whisper).items():
        ffn_dim, d_model = layer.fc1.weight.shape
        layer_tensors = {
            f"gate_in.{name}.weight": draw(GATE_DIM, d_model),
            f"gate_in.{name}.bias": draw(GATE_DIM),
            f"gate_out.{name}.weight": draw(1, GATE_DIM),
            f"proj.{name}.fc1.weight": draw(ffn_dim, d_model),
            f"proj.{name}.fc1.bias": draw(ffn_dim),
            f"proj.{name}.fc2.weight": draw(d_model, ffn_dim),
            f"proj.{name}.fc2.bias": draw(d_model),
        }
        tensors |= {f"{prefix}.ffn_clsr.{key}": tensor for key, tensor in layer_tensors.items()}
    return tensors


class Routed(nn.Module):
    """Their feed-forward at inference: the expert's output where the gate's score is 0 or more, else the shared one."""

    def __init__(self, layer, prefix, name, experts):
        super().__init__()
        self.shared = (layer.fc1.weight, layer.fc1.bias, layer.fc2.weight, layer.fc2.bias)
        layer_tensors = {key.removeprefix(f"{prefix}.ffn_clsr."): tensor for key, tensor in experts.items()}
        parts = ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
        self.expert = [layer_tensors[f"proj.{name}.{part}"] for part in parts]
        self.gate_in = (layer_tensors[f"gate_in.{name}.weight"], layer_tensors[f"gate_in.{name}.bias"])
        self.gate_out = layer_tensors[f"gate_out.{name}.weight"]
        self.activation = layer.activation_fn

    def forward(self, states):
        self.is_open = linear(torch.relu(linear(states, *self.gate_in)), self.gate_out) >= 0
        expert, shared = (self.feed_forward(states, *weights) for weights in (self.expert, self.shared))
        return torch.where(self.is_open, expert, shared)

    def feed_forward(self, states, in_weight, in_bias, out_weight, out_bias):
        return linear(self.activation(linear(states, in_weight, in_bias)), out_weight, out_bias)


def reference(whisper, name, experts, sides=("encoder", "decoder")):
    """The plain Whisper with their feed-forward for one language in the layers of these sides."""
    whisper = copy.deepcopy(whisper)
    for prefix, layer in layers(whisper).items():
        if prefix.split(".")[1] in sides:
            layer.fc1 = Routed(layer, prefix, name, experts)
            layer.activation_fn = layer.fc2 = nn.Identity()
    return whisper
