"""A device that is not the CPU, for machines without a GPU: a missing `.to` is an error on it.

    with elsewhere.device() as place:
        base.model.to(place)                    # its tensors are elsewhere now
        base.model.weight + torch.zeros(3)      # AssertionError: a CPU tensor meets one elsewhere

A tensor that is elsewhere says so (`tensor.device`), and holds its numbers in an ordinary tensor
that nothing outside sees. Every operation looks at its tensors first, as CUDA's do: all must be on
one device, except numbers without axes, index tensors on the CPU, and copies, which are the way
from one device to another. What the CPU alone can do (numpy, files) fails.

The device is called `meta`, because PyTorch runs that one's backward pass without a driver; true
meta tensors, which hold no numbers, do not come up here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

_AUTOCAST = torch.autocast
PLACE = torch.device("meta")
_aten = torch.ops.aten
_FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor}
_COPIES = {_aten._to_copy.default, _aten.copy_.default}
# Of these the tensor itself is elsewhere, and index tensors may be on the CPU.
_INDEXED = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default}


class Elsewhere(torch.Tensor):
    """A tensor on the other device; `inner` holds its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Elsewhere:
        made: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=PLACE,
        )
        made.inner = inner
        return made

    def __repr__(self, **options: Any) -> str:
        return f"Elsewhere({self.inner!r})"

    def tolist(self) -> Any:
        """PyTorch's own reads the storage of anything but CUDA tensors."""
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Catches what makes tensors on the device out of nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return run(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """`torch.tensor([1, 2], device=...)` and its like, which operations do not see being made."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func not in _FROM_NUMBERS:
            return func(*args, **kwargs)
        wanted = kwargs.pop("device", None)
        if func is torch.Tensor.new_tensor:
            like, *args = args
            wanted = wanted or like.device
            kwargs = {"dtype": like.dtype, **kwargs}
            func = torch.tensor
        elif isinstance(args[0], torch.Tensor):  # which has a history, so it is not made anew
            return args[0].to(wanted or args[0].device, kwargs.get("dtype") or args[0].dtype)
        made = func(*tree_map(_inner, args), **kwargs)  # a list may hold tensors
        return made if wanted is None else made.to(wanted)


@contextlib.contextmanager
def device() -> Iterator[torch.device]:
    """The device, for the time of the context."""
    # So that a module's parameters stay the same objects as they move, as on any other device.
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    with _FromNumbers(), _Mode(), mock.patch.object(torch, "autocast", _autocast):
        try:
            yield PLACE
        finally:
            torch.__future__.set_swap_module_params_on_conversion(before)


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> Any:
    """PyTorch knows none for the device: that of the CPU, which passes by what is elsewhere."""
    return _AUTOCAST("cpu" if device_type == PLACE.type else device_type, *args, **kwargs)


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation where its tensors are."""
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = any(isinstance(tensor, Elsewhere) for tensor in given)
    wanted = kwargs.get("device")
    if not there and (wanted is None or torch.device(wanted) != PLACE):
        return func(*args, **kwargs)
    if func not in _COPIES:
        _check(func, args, given)
    if wanted is not None:
        there = torch.device(wanted) == PLACE
        kwargs = {**kwargs, "device": torch.device("cpu")}
    if func is _aten.copy_.default:
        there = isinstance(args[0], Elsewhere)
    plain_args, plain_kwargs = tree_map(_inner, (args, kwargs))
    if func is _aten.histc.default:  # GPUs count whole numbers, the CPU does not
        numbers, *plain_args = plain_args
        result = func(numbers.float(), *plain_args, **plain_kwargs).to(numbers.dtype)
    else:
        result = func(*plain_args, **plain_kwargs)
    if func._schema.is_mutable:
        # In place: what comes out is what went in.
        same = {id(plain): whole for plain, whole in _pairs(args, kwargs)}
        return tree_map(lambda leaf: same.get(id(leaf), _outer(leaf) if there else leaf), result)
    return tree_map(_outer, result) if there else result


def _check(func: Any, args: Any, given: list[torch.Tensor]) -> None:
    """Raise where a tensor of the CPU meets one of the device."""
    if func in _INDEXED and isinstance(args[0], Elsewhere):
        given = [args[0], *(args[2:3] if func is not _aten.index.Tensor else ())]
    for tensor in given:
        if not isinstance(tensor, Elsewhere) and tensor.dim() > 0 and len(given) > 1:
            raise AssertionError(f"{func}: a CPU tensor {tuple(tensor.shape)} meets one elsewhere")


def _inner(leaf: Any) -> Any:
    return leaf.inner if isinstance(leaf, Elsewhere) else leaf


def _outer(leaf: Any) -> Any:
    return Elsewhere(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _pairs(args: Any, kwargs: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for leaf in tree_leaves((args, kwargs)):
        if isinstance(leaf, Elsewhere):
            yield leaf.inner, leaf
