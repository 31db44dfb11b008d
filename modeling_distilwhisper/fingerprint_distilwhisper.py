"""The backbone's fingerprint: a sample of its weights, written into every expert file and compared on loading."""

import json

import torch

SAMPLES = (
    4  # weights of each tensor: training changes nearly all, so a few are enough to recognise a fine-tuned backbone
)
ENCODER = ("fc1.weight", "fc2.weight", "self_attn.q_proj.weight", "self_attn.out_proj.weight")
IN_LAYERS = {"encoder": ENCODER, "decoder": (*ENCODER, "encoder_attn.q_proj.weight", "encoder_attn.out_proj.weight")}
OUTSIDE = ("encoder.conv1.weight", "encoder.conv2.weight", "decoder.embed_tokens.weight", "decoder.layer_norm.weight")


def fingerprint(model) -> str:
    """JSON of some weights of every layer, and their dtype. Quantised weights are left out.

    Args:
        model: a `DistilWhisperForConditionalGeneration` or `DistilWhisperModel`.
    """
    sampled = {}
    names = [f"{side}.layers.{index}.{name}" for side, index in model.routed_layers() for name in IN_LAYERS[side]]
    for name in (*names, *OUTSIDE):
        weight = model.base_model.get_parameter(name).detach()
        if type(weight) is torch.Tensor and weight.is_floating_point():  # torchao's weights are of other types
            flat = weight.flatten()
            indices = [(flat.numel() - 1) * sample // (SAMPLES - 1) for sample in range(SAMPLES)]
            sampled[name] = flat[indices].float().tolist()
    return json.dumps({"dtype": str(model.dtype).removeprefix("torch."), "weights": sampled})


def check_fingerprint(path: str, metadata: dict[str, str], model) -> None:
    """Checks that experts were made on this model's backbone, up to the rounding of the coarser of the two dtypes.

    Args:
        path: the experts' file, for the message.
        metadata: of that file.
        model: as for `fingerprint`.

    Raises:
        ValueError: a weight differs; the message names both backbones and the weight.
    """
    ours = json.loads(fingerprint(model))
    try:
        theirs = json.loads(metadata["fingerprint"])
        coarsest = max(torch.finfo(getattr(torch, theirs["dtype"])).eps, torch.finfo(model.dtype).eps)
        both = [name for name in theirs["weights"] if name in ours["weights"]]
        if not both:
            raise ValueError("no weight in common")
    except (KeyError, ValueError, TypeError, AttributeError):
        raise ValueError(
            f"{path} does not say which backbone it was made on. Expected a file of `save_experts`."
        ) from None
    exact = coarsest <= torch.finfo(torch.float32).eps
    for name in both:
        here, there = torch.tensor(ours["weights"][name]), torch.tensor(theirs["weights"][name])
        # Half precision rounds small weights to multiples of 6e-8 (subnormal numbers).
        allowed = torch.zeros(()) if exact else coarsest * there.abs() + 6e-8
        if here.shape != there.shape or ((here - there).abs() > allowed).any():
            raise ValueError(
                f"{path} was made on another backbone ({metadata.get('base_model')}) than this one "
                f"({model.config.base_model_name_or_path}): {name} differs. Its experts would not work here; load "
                "them on the backbone that they were made on."
            )


__all__ = ["check_fingerprint", "fingerprint"]
