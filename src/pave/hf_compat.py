"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, with the versions it was checked with in
its docstring. `tests/test_hf_compat.py` names each attribute, so that an upgrade that takes one
away fails there, in words, and not deep inside a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def change_counter(tensor: Tensor) -> int:
    """How often a tensor was changed in place: `Tensor._version`.

    Tensors made in inference mode count nothing and give 0. Checked with torch 2.13.0.
    """
    if tensor.is_inference():
        return 0
    return int(tensor._version)


def activate_adapters(layer: Any, names: Sequence[str]) -> None:
    """Let these adapters of a peft layer work, and no others: `BaseTunerLayer._active_adapter`.

    peft's own `set_adapter` also freezes the adapters that it switches off, or all of them; who is
    at work in one call must not change what trains. Checked with peft 0.21.2.
    """
    layer._active_adapter = list(names)


def adapter_in_float32(model: nn.Module, name: str) -> None:
    """Cast a fresh adapter of 16 bits to float32, as peft's own entry points do.

    An optimiser's small steps vanish in a half-precision LoRA. It is
    `peft.tuners.tuners_utils.cast_adapter_dtype`, which peft's front does not export. Checked with
    peft 0.21.2.
    """
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(model, adapter_name=name)


def enable_checkpointing(model: Any, kwargs: dict[str, Any], **options: Any) -> None:
    """Have a Hugging Face model compute activations again in the backward pass.

    The method was called `gradient_checkpointing_enable` before transformers 5.2x. Checked with
    transformers 5.18 and 5.23.0.
    """
    enable = getattr(model, "activation_checkpointing_enable", None)
    if enable is None:
        enable = model.gradient_checkpointing_enable
    enable(kwargs, **options)


TRAINER_HOOKS = (
    "_get_train_sampler",
    "_get_output_dir",
    "_save_checkpoint",
    "_save",
    "_load_from_checkpoint",
)
"""Methods of `transformers.Trainer` that `pave.train.trainer.PatchTrainer` overrides.

They decide in which order samples come, where a checkpoint is written, what of the model is in it,
and how it comes back. The Trainer has no public way to say these. Checked with transformers 5.23.0.
"""

TRAINER_STATE = "trainer_state.json"
"""File of a checkpoint in which the Trainer keeps `global_step`. Checked with transformers 5.23.0."""


def checkpoint_files(processes: int) -> list[str]:
    """What the Trainer writes into a checkpoint beside the weights, for so many processes.

    Checked with transformers 5.23.0.
    """
    if processes == 1:
        chances = ["rng_state.pth"]
    else:
        chances = [f"rng_state_{rank}.pth" for rank in range(processes)]
    return ["optimizer.pt", "scheduler.pt", *chances]


def is_write_failure(error: RuntimeError) -> bool:
    """Whether `torch.save` failed to write, on a full disk for example.

    It raises a bare RuntimeError that keeps the system's reason to itself; only the names of its
    writer in the text tell. Checked with torch 2.13.0.
    """
    text = str(error)
    return "inline_container" in text or "PytorchStreamWriter" in text


def attention_implementation(config: Any) -> str:
    """What a model of this configuration attends with: `PretrainedConfig._attn_implementation`.

    Checked with transformers 5.23.0.
    """
    return str(getattr(config, "_attn_implementation", "sdpa"))


def set_attention_implementation(config: Any, name: str) -> None:
    """Let a model of this configuration attend so: `PretrainedConfig._attn_implementation`.

    Set where its layers look it up, not by `set_attn_implementation`: that refuses families for
    which transformers has not declared FlexAttention, though it works in them. Checked with
    transformers 5.23.0.
    """
    config._attn_implementation = name
