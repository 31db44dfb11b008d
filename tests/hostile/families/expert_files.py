"""Files of experts whose metadata or tensors were changed: loaded equal, or refused before memory is asked for."""

import functools
import json
import struct
from pathlib import Path

import torch
from helpers.tiny import make_processor, make_whisper, unsettle
from safetensors.torch import load_file, save_file

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

from ..trial import Wrong

FILE = "expert.gl.safetensors"
METADATA = {
    "gate_dim": ("0", "-1", "1e3", "10000000000000", "9" * 400, "", "３", "1.0", "²"),
    "expert_rank": ("1", "-4", "10000000000000", "9" * 5000, "", "None", "٣"),
    "d_model": ("0", "17", "", "1" * 30),
    "encoder_layers": ("0", "100000000"),
    "decoder_ffn_dim": ("1", "999999999999"),
    "language": ("ca", "", "../gl", "GL", "gl\0"),
    "distilwhisper_version": ("", "0", "2", "1.0", "999"),
    "fingerprint": ("", "x", "0" * 64, "é"),
}


@functools.cache
def made(**settings):
    """A plain tiny Whisper, its processor's folder, and the tensors and metadata of a file of experts."""
    import tempfile

    folder = Path(tempfile.mkdtemp())
    processor = make_processor()
    make_whisper(processor).save_pretrained(folder)
    model = DistilWhisperForConditionalGeneration.from_whisper(folder, languages=["gl"], **settings).eval()
    unsettle(model)
    model.save_experts(folder)
    with open(folder / FILE, "rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    return folder, load_file(folder / FILE), header["__metadata__"]


def load(folder):
    model = DistilWhisperForConditionalGeneration.from_whisper(made()[0], languages=[])
    model.load_experts(folder, "gl")
    return {name: tensor for name, tensor in model.state_dict().items() if ".experts.gl." in name}


def check(loaded, tensors):
    for name, tensor in tensors.items():
        if not torch.equal(loaded[name], tensor):
            raise Wrong(f"{name} is not what was saved")


def with_metadata(name, value):
    def act(folder):
        _, tensors, metadata = made()
        metadata = dict(metadata)
        if value is None:
            del metadata[name]
        else:
            metadata[name] = value
        save_file(tensors, folder / FILE, metadata=metadata)
        check(load(folder), tensors)
        if name not in ("base_model", "format"):
            raise Wrong(f"{name}={value!r} was accepted")

    return act


def with_tensor(change, must_refuse=True):
    def act(folder):
        _, tensors, metadata = made()
        name = next(name for name in tensors if name.endswith("fc1.weight"))
        tensors = dict(tensors)
        changed = change(tensors[name].clone())
        if changed is None:
            del tensors[name]
        else:
            tensors[name] = changed.contiguous()
        save_file(tensors, folder / FILE, metadata=metadata)
        loaded = load(folder)
        if must_refuse:
            raise Wrong(f"{name}: accepted, up to {loaded[name].abs().max():.3g}")

    return act


def put(value):
    def change(tensor):
        tensor[0, 0] = value
        return tensor

    return change


TENSORS = {
    "missing": lambda tensor: None,
    "transposed": lambda tensor: tensor.T,
    "a row less": lambda tensor: tensor[1:],
    "one dimension": lambda tensor: tensor.flatten(),
    "empty": lambda tensor: tensor[:0],
    "int8 without a scale": lambda tensor: tensor.to(torch.int8),
    "int64": lambda tensor: tensor.to(torch.int64),
    "bool": lambda tensor: tensor.bool(),
    "NaN": put(float("nan")),
    "infinite": put(float("inf")),
    "minus infinite": put(float("-inf")),
    "3e38": put(3e38),
    "infinite in half precision": lambda tensor: put(1e6)(tensor).half(),
}


def scaled(scale):
    """8-bit experts whose scale is another."""

    def act(folder):
        source = made()[0]
        model = DistilWhisperForConditionalGeneration.from_whisper(source, languages=["gl"])
        model.save_experts(folder, int8=True)
        tensors = load_file(folder / FILE)
        with open(folder / FILE, "rb") as file:
            metadata = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))["__metadata__"]
        name = next(name for name in tensors if name.endswith("fc1.weight.scale"))
        tensors[name] = scale(tensors[name]).contiguous()
        save_file(tensors, folder / FILE, metadata=metadata)
        load(folder)
        raise Wrong(f"{name} was accepted")

    return act


SCALES = {
    "infinite": lambda scale: scale * float("inf"),
    "NaN": lambda scale: scale * float("nan"),
    "negative": lambda scale: -scale,
    "zero": lambda scale: scale * 0,
    "3e38": lambda scale: scale * 0 + 3e38,
    "one for all": lambda scale: scale[:1],
    "too many": lambda scale: scale.repeat(1, 1000),
    "a wide row": lambda scale: scale.T,
    "integers": lambda scale: scale.to(torch.int32),
    "unfolding": lambda scale: scale.repeat(1, 1)[:, None, :].repeat(1, 100, 1),
}


def raw(content):
    def act(folder):
        (folder / FILE).write_bytes(content)
        load(folder)
        raise Wrong("accepted")

    return act


ONE = b'"dtype":"F32","shape":[1],"data_offsets":[0,4]'


def header(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


RAW = {
    "empty": b"",
    "seven bytes": b"1234567",
    "a long header claimed": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": header(b"hello world"),
    "empty header": header(b"{}"),
    "terabytes claimed": header(b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'),
    "overlapping": header(b'{"a":{' + ONE + b'},"b":{' + ONE + b"}}", bytes(4)),
    "negative shape": header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
    "unknown type": header(b'{"a":{"dtype":"F7","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "pickle": b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n",
    "zip": b"PK\x03\x04" + bytes(100),
    "git lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "HTML": b"<!DOCTYPE html><html>Not found</html>",
}  # fmt: skip


def cut(share):
    def act(folder):
        content = (made()[0] / FILE).read_bytes()
        (folder / FILE).write_bytes(content[: int(len(content) * share)])
        load(folder)
        raise Wrong("a cut file was accepted")

    return act


def trials():
    made()
    for name, values in METADATA.items():
        for value in (*values, None):
            yield f"metadata, {name}={str(value)[:20]!r}{'...' * (len(str(value)) > 20)}", with_metadata(name, value)
    for name, change in TENSORS.items():
        yield f"tensor, {name}", with_tensor(change)
    for name, scale in SCALES.items():
        yield f"scale, {name}", scaled(scale)
    for name, content in RAW.items():
        yield f"file, {name}", raw(content)
    for share in (0.01, 0.2, 0.5, 0.99, 0.99999):
        yield f"file, cut at {share:.3%}", cut(share)
