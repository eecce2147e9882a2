"""Tensors and modules of torch: changes in place, hooks, compilation, ways to resize."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def lanczos_mode() -> str:
    """The resize mode closest to Lanczos: torch has it from 2.13 on, bicubic stands in before.

    Hugging Face's SmolVLM processor falls back in the same way. `torch.__version__` compares as a
    version, not letter by letter. Checked with torch 2.6 to 2.13.0.
    """
    import torch

    if torch.__version__ < "2.13":
        return "bicubic"
    return "lanczos"


def change_counters(tensors: Iterable[Tensor]) -> list[int]:
    """How often each tensor was changed in place: `Tensor._version`.

    Tensors made in inference mode count nothing and give 0. Checked with torch 2.13.0.
    """
    counters = []
    for tensor in tensors:
        changes = 0
        if not tensor.is_inference():
            changes = int(tensor._version)
        counters.append(changes)
    return counters


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether something hooks into a module's forward: `Module._forward_hooks`.

    Checked with torch 2.13.0.
    """
    return bool(module._forward_hooks)


def is_called_as_is(module: nn.Module) -> bool:
    """Whether calling a module is its class's own forward and nothing else.

    Hooks (`Module._forward_hooks`, `Module._forward_pre_hooks`) or a `forward` of its own would
    change what comes out. The one that accelerate puts on the parts of a base on several devices
    does not: its `AlignDevicesHook` brings inputs to the module's device, and calls the class's
    forward, `Module._old_forward`. Checked with torch 2.13.0 and accelerate 1.15.0.
    """
    if module._forward_hooks or module._forward_pre_hooks:
        return False
    # One that is put on the instance hides the class's.
    if "forward" not in vars(module):
        return True
    wrapped = getattr(module, "_old_forward", None)
    if getattr(wrapped, "__func__", None) is not type(module).forward:
        return False
    from accelerate.hooks import AlignDevicesHook, SequentialHook

    hook = getattr(module, "_hf_hook", None)
    hooks = [hook]
    if isinstance(hook, SequentialHook):
        hooks = list(hook.hooks)
    return set(map(type, hooks)) == {AlignDevicesHook}


def is_compiled(module: nn.Module) -> bool:
    """Whether a module runs compiled: by `torch.compile`, by its own `compile`, or its `forward`.

    The second leaves `Module._compiled_call_impl`, the first is a module `_orig_mod` in another. A
    function that `torch.compile` made, such as a `forward` that was replaced by its compiled self,
    has `_torchdynamo_orig_callable`; whoever wraps it once more (accelerate) copies that. Checked
    with torch 2.13.0.
    """
    if module._compiled_call_impl is not None or "_orig_mod" in module._modules:
        return True
    # The module's own forward, or its class's.
    return hasattr(module.forward, "_torchdynamo_orig_callable")


def is_offloaded(module: nn.Module) -> bool:
    """Whether accelerate brings a module's weights for the length of a call and takes them away.

    Its hooks lie in `Module._hf_hook`, several of them in a `SequentialHook.hooks`; those that
    align devices have an attribute `offload`. Checked with accelerate 1.15.0.
    """
    hook = getattr(module, "_hf_hook", None)
    # A single hook, or several in a row.
    hooks = getattr(hook, "hooks", [hook])
    return any(getattr(one, "offload", False) for one in hooks)
