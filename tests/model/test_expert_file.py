"""An expert file that is damaged or made to harm is refused with a sentence, before it takes memory or time."""

import json
import math
import shutil
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.utils._python_dispatch import TorchDispatchMode

from modeling_distilwhisper import DistilWhisperForConditionalGeneration

NAME = "expert.gl.safetensors"
LAYER = "model.encoder.layers.0.experts.gl."


@pytest.fixture
def files(model, tmp_path):
    """Small files of experts for gl: full, and in 8-bit integers."""
    model.save_experts(tmp_path / "full", ["gl"])
    model.save_experts(tmp_path / "int8", ["gl"], int8=True)
    model.remove_language("gl")
    return tmp_path


def content_of(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return load_file(path), dict(file.metadata())


def write(path: Path, tensors: dict, metadata: dict) -> Path:
    path.parent.mkdir(exist_ok=True)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata=metadata)
    return path


def write_raw(path: Path, header: dict, data: bytes = b"") -> None:
    """A file with any header, which safetensors itself would not write."""
    text = json.dumps(header).encode()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def require_refused(model, folder: Path, match: str = "") -> None:
    with pytest.raises(ValueError, match=match) as caught:
        model.load_experts(folder, "gl")
    assert type(caught.value) is ValueError and NAME in str(caught.value)
    assert "gl" not in model.config.languages


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan, 3e38, 1e5])
def test_experts_that_hold_what_no_model_computes_with_are_refused_by_name(model, files, number):
    tensors, metadata = content_of(files / "full" / NAME)
    for key in (LAYER + "fc2.weight", LAYER + "gate.hidden.bias", LAYER + "gate.threshold"):
        if key.endswith("threshold") and number == -math.inf:
            continue  # a gate before training
        changed = tensors[key].clone()
        changed.view(-1)[0] = number
        write(files / "changed" / NAME, tensors | {key: changed}, metadata)
        require_refused(model, files / "changed", f"{key} holds")


@pytest.mark.parametrize("number", [math.inf, math.nan, 0.0, -1.0, 3e38])
def test_a_scale_of_8_bit_experts_that_is_no_positive_number_is_refused_by_name(model, files, number):
    tensors, metadata = content_of(files / "int8" / NAME)
    key = LAYER + "fc1.weight.scale"
    changed = tensors[key].clone()
    changed[1] = number
    write(files / "changed" / NAME, tensors | {key: changed}, metadata)
    require_refused(model, files / "changed", r"fc1.weight(.scale)? holds")
    for shape in [(1, 1), (48,), (48, 32), (1, 48), ()]:
        write(files / "changed" / NAME, tensors | {key: torch.ones(shape)}, metadata)
        require_refused(model, files / "changed", f"{key} has shape")


def test_experts_that_are_not_finite_are_not_saved_and_the_older_file_stays(model, tmp_path):
    (path,) = model.save_experts(tmp_path, ["gl"])
    before = path.read_bytes()
    model.experts_of("gl")["decoder", 1].fc1.weight.data[3, 3] = math.nan
    for save in (model.save_experts, model.save_pretrained):
        with pytest.raises(ValueError, match=r"decoder.layers.1.experts.gl.fc1.weight holds NaN or infinity"):
            save(tmp_path)
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == [NAME]


def test_a_backbone_that_is_not_finite_is_not_saved(model, tmp_path):
    model.model.encoder.conv1.bias.data[0] = math.inf
    with pytest.raises(ValueError, match=r"The model is not saved: .*encoder.conv1.bias holds NaN or infinity"):
        model.save_pretrained(tmp_path)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("name", "value"),
    [(n, v) for n in ("gate_dim", "expert_rank") for v in ("1000000000", "9" * 30, "9" * 5000, "-1", "1.0", "٣", "")],
)
def test_a_size_in_the_metadata_that_the_file_has_no_room_for_takes_no_memory(model, files, name, value):
    tensors, metadata = content_of(files / "full" / NAME)
    write(files / "changed" / NAME, tensors, metadata | {name: value})
    require_refused(model, files / "changed", f"its metadata says {name} ")


def test_shapes_that_ask_for_more_than_the_file_holds_are_refused(model, files):
    _, metadata = content_of(files / "int8" / NAME)
    key = LAYER + "fc1.weight"
    huge = {"dtype": "I8", "shape": [10**9, 10**9], "data_offsets": [0, 4]}
    for header in (
        {"__metadata__": metadata, key: huge},
        {"__metadata__": metadata, key: huge | {"shape": [0, 10**12], "data_offsets": [0, 0]}},
        {"__metadata__": metadata, key: huge | {"dtype": "F4", "shape": [8]}},
        {"__metadata__": metadata},
        {"__metadata__": {"fingerprint": 3}},
        [],
    ):
        write_raw(
            files / "changed" / NAME, header, b"1234" if key in header and header[key]["data_offsets"][1] else b""
        )
        require_refused(model, files / "changed")


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "zeros", "header of terabytes"])
def test_a_damaged_file_is_refused_in_one_sentence(model, files, damage):
    content = (files / "full" / NAME).read_bytes()
    damaged = {
        "empty": b"",
        "cut": content[: len(content) // 2],
        "text": b"<!DOCTYPE html><title>404</title>",
        "zeros": bytes(len(content)),
        "header of terabytes": (2**40).to_bytes(8, "little") + content[8:],
    }[damage]
    (files / "full" / NAME).write_bytes(damaged)
    require_refused(model, files / "full", "is not a complete safetensors file")


# Any change of metadata and tensors

texts = st.one_of(st.text(max_size=8), st.integers().map(str), st.just("[" * 10_000), st.just('{"weights": {}}'))
shapes = st.lists(st.integers(0, 5), max_size=3)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.float64, torch.int8, torch.bool, torch.float8_e4m3fn])
changes = st.one_of(
    st.tuples(st.just("metadata"), st.integers(0, 20), st.one_of(st.none(), texts)),
    st.tuples(
        st.just("fingerprint"), st.integers(0, 3), st.one_of(st.none(), texts, st.lists(st.floats(), max_size=5))
    ),
    st.tuples(st.just("tensor"), st.integers(0, 200), st.one_of(st.none(), st.tuples(shapes, dtypes))),
    st.tuples(st.just("number"), st.integers(0, 200), st.floats(width=32)),
    st.tuples(st.just("extra"), st.integers(0, 200), st.sampled_from([".scale", ".weight", ""])),
)


class LargestTensor(TorchDispatchMode):
    """Notes the size of the largest tensor that is made in memory, which tracemalloc does not see."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for one in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(one, torch.Tensor) and one.device.type == "cpu":
                self.bytes = max(self.bytes, one.numel() * one.element_size())
        return result


def refusal_of(model, folder: Path) -> str | None:
    """The sentence with which a file is refused, or `None` if it is loaded. Other exceptions are passed on."""
    try:
        model.load_experts(folder, "gl")
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        return str(error)
    return None


def change(tensors: dict, metadata: dict, kind: str, index: int, value) -> None:
    """Applies one change; `None` deletes."""
    if kind == "metadata":
        name = sorted(metadata)[index % len(metadata)]
        metadata.pop(name) if value is None else metadata.update({name: value})
    elif kind == "fingerprint":
        content = json.loads(metadata["fingerprint"])
        name = sorted(content["weights"])[index]
        content["weights"][name] = value
        metadata["fingerprint"] = json.dumps(content)
    else:
        name = sorted(tensors)[index % len(tensors)]
        if kind == "number":
            tensors[name].view(-1)[:1] = (
                int(value) % 100 if tensors[name].dtype == torch.int8 and abs(value) < 1e9 else 0
            )
            if tensors[name].is_floating_point():
                tensors[name].view(-1)[:1] = value
        elif kind == "extra":
            tensors[name + value + "x"] = torch.ones(1)
        elif value is None:
            del tensors[name]
        else:
            tensors[name] = torch.ones(value[0]).to(value[1])


@settings(max_examples=40, deadline=5000, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(["full", "int8"]), made=st.lists(changes, min_size=1, max_size=2))
def test_whatever_is_changed_in_a_file_it_loads_as_it_says_or_is_refused_in_a_sentence(model, files, form, made):
    tensors, metadata = content_of(files / form / NAME)
    for kind, index, value in made:
        if kind != "fingerprint" or metadata.get("fingerprint", "").startswith('{"dtype"'):
            change(tensors, metadata, kind, index, value)
    shutil.rmtree(files / "changed", ignore_errors=True)
    path = write(files / "changed" / NAME, tensors, metadata)
    tracemalloc.start()
    with LargestTensor() as largest:
        message = refusal_of(model, files / "changed")
    most = largest.bytes + tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 20 * path.stat().st_size
    if message is not None:
        assert len(message) > 20 and "gl" not in model.config.languages
        return
    for (side, index), expert in model.experts_of("gl").items():
        for name, tensor in expert.state_dict().items():
            key = f"model.{side}.layers.{index}.experts.gl.{name}"
            stored = tensors[key] * tensors[key + ".scale"] if key + ".scale" in tensors else tensors[key]
            assert torch.equal(tensor, stored.to(tensor.dtype))
    model.remove_language("gl")


def test_loading_takes_no_random_numbers_and_no_memory_twice(model, files):
    state = torch.random.get_rng_state()
    model.load_experts(files / "full", "gl")
    assert torch.equal(torch.random.get_rng_state(), state)
    expert = DistilWhisperForConditionalGeneration.experts_of(model, "gl")["encoder", 0]
    assert expert.fc1.weight.requires_grad and expert.fc1.weight.is_contiguous()
