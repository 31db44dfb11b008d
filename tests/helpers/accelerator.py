"""An accelerator that is none: tensors on the device "sim" lie in the CPU's memory, where the CPU must ask for them.

Code that takes "cpu" for granted fails on it as on a GPU: operations refuse tensors of both devices. And it counts what
a GPU would be waited for. For a process of its own, since a device stays known to PyTorch until the process ends.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

NAME = "sim"
CHOSEN = os.environ.get("DISTILWHISPER_TEST_DEVICE", "cpu")  # or "cuda"; or "sim", though it is no complete device
READS: Counter[str] = Counter()  # of values on the device, by operation
MADE_BY_COPY = ("aten.copy_", "aten._copy_from", "aten._to_copy", "aten.index.", "aten.index_put_")
READING = {"aten._local_scalar_dense": 1, "aten.nonzero": 1, "aten.masked_select": 1, "aten.bincount": 2}
KERNELS = ("copy_", "_copy_from", "empty.memory_format", "empty_strided", "_to_copy", "_local_scalar_dense")


class OnDevice(torch.Tensor):
    """A tensor on the device: it holds one of the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        tensor = torch.Tensor._make_wrapper_subclass(cls, inner.size(), device=f"{NAME}:0", **layout)
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return run(operation, *args, **(kwargs or {}))

    def tolist(self):
        return self.cpu().tolist()


def run(operation, *args, **kwargs):
    """Runs an operation of PyTorch on the tensors that those on the device hold."""
    name = str(operation)

    def held(tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, OnDevice):
            return tensor.inner
        if tensor.dim() and not name.startswith(MADE_BY_COPY):
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {NAME} and cpu.")
        return tensor

    inputs = tree_map_only(torch.Tensor, held, (args, kwargs))
    of_cpu = tree_map_only(torch.device, lambda device: torch.device("cpu"), inputs)
    output = operation(*of_cpu[0], **of_cpu[1])
    if times := READING.get(name.rpartition(".")[0]):
        READS[name] += times
    target = kwargs.get("device")
    if target is not None and torch.device(target).type == "cpu":
        READS["to the CPU"] += 1
        return output
    if operation._schema.is_mutable and isinstance(output, torch.Tensor):
        return kwargs.get("out", args[0])
    return tree_map_only(torch.Tensor, OnDevice, output)


class Device(TorchFunctionMode):
    """Within it, numbers become tensors on the device where that is asked for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function is torch.Tensor.new_tensor:
            function, kwargs = torch.tensor, {"device": args[0].device, "dtype": args[0].dtype, **kwargs}
            args = args[1:]
        if function in (torch.tensor, torch.as_tensor):
            # Made on the CPU and then moved: PyTorch cannot fill them with numbers on a device in Python.
            device = torch.device(kwargs.pop("device", None) or torch.get_default_device())
            made = function(*args, **kwargs, **({} if isinstance(args[0], torch.Tensor) else {"device": "cpu"}))
            return made.to(device)
        return function(*args, **kwargs)


@contextmanager
def making_tensors_on(name: str) -> Iterator[None]:
    """Within it, tensors are made on a device unless another one is named."""
    if name == "cpu":
        yield
        return
    if name == NAME:
        register()
    with torch.device(name), Device() if name == NAME else nullcontext():
        yield


@cache
def register() -> None:
    """Makes the device known to PyTorch.

    Raises:
        ImportError: this PyTorch is too old to have devices in Python.
    """
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend as setup

    setup(NAME)
    kernels = torch.library.Library("aten", "IMPL")
    for name in KERNELS:
        operation = getattr(torch.ops.aten, name.partition(".")[0])
        operation = getattr(operation, name.partition(".")[2] or "default")
        kernels.impl(name, partial(run, operation), "PrivateUse1")
    others = torch.library.Library("_", "IMPL")
    others.fallback(run, "PrivateUse1")
    register.libraries = [kernels, others]  # they are undone when nothing holds them
