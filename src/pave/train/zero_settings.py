"""What `trainer.deepspeed` takes: DeepSpeed's own settings, as far as a patch trains with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.texts import read_object

FIELD = "deepspeed"
_REFUSED = {
    "optimizer": "pave makes the optimiser; use `lr_lora`, `lr_fusion`, `lr_gate`, `weight_decay`",
    "scheduler": "use `warmup` and `trainer.lr_scheduler_type`",
    "fp16": "use `precision`",
    "bf16": "use `precision`",
    "torch_autocast": "use `precision`",
    "activation_checkpointing": "use `gradient_checkpointing`",
}
# Those of a run, which need not be said twice.
_OURS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)


def zero_settings(block: Mapping[str, Any]) -> dict[str, Any] | None:
    """DeepSpeed's settings in a `trainer` block, looked at; None where there are none.

    Args:
        block: Its field `deepspeed` is a mapping, or the path of a JSON file with one.

    Raises:
        ConfigError: If they ask for what a patch does not train with.
    """
    given = block.get(FIELD)
    if given is None:
        return None
    if isinstance(given, str):
        given = read_object(Path(given), ConfigError, "name a JSON file with DeepSpeed's settings")
    if not isinstance(given, Mapping):
        raise ConfigError(
            "trainer.deepspeed: a mapping of DeepSpeed's settings or the path of its JSON file, "
            f"got {given!r}"
        )
    for name, reason in _REFUSED.items():
        if _asks(given.get(name)):
            raise ConfigError(f"trainer.deepspeed.{name} is not supported: {reason}")
    kept = dict(given)
    # Left are those that are off, "auto", or said by the run.
    for name in (*_REFUSED, *_OURS):
        kept.pop(name, None)
    return {**kept, "zero_optimization": _zero(given.get("zero_optimization"))}


def _asks(part: Any) -> bool:
    """Whether a part of the settings is there and not switched off."""
    if isinstance(part, Mapping):
        return part.get("enabled", True) not in (False, "auto")
    return part is not None


def _zero(block: Any) -> dict[str, Any]:
    """The block `zero_optimization`, without what is left to DeepSpeed."""
    found = dict(block) if isinstance(block, Mapping) else {}
    stage = found.get("stage")
    if stage == 3:
        raise ConfigError(
            "trainer.deepspeed: ZeRO-3 would cut the frozen base, whose layers pave calls through "
            "hooks that DeepSpeed does not know; use `engine: fsdp`, which cuts it, or stage 2"
        )
    if stage != 2:
        raise ConfigError(
            f"trainer.deepspeed: zero_optimization.stage must be 2, got {stage!r}: "
            "gradients and moments are divided, and without that `engine: ddp` is enough"
        )
    for name in ("offload_optimizer", "offload_param"):
        part = found.pop(name, None) or {}
        if part.get("device", "none") != "none":
            raise ConfigError(
                f"trainer.deepspeed: {name} needs DeepSpeed's own Adam, which rounds in another "
                "way; leave it out, since a patch's moments are small"
            )
    if found.get("round_robin_gradients") is True:
        raise ConfigError(
            "trainer.deepspeed: round_robin_gradients deals weights out in another order than a "
            "checkpoint has; leave it out"
        )
    # The Trainer would fill these in; DeepSpeed itself has defaults.
    for name in [name for name, value in found.items() if value == "auto"]:
        del found[name]
    return found
