"""Whether a patch fits: its base, the patches that are there already, its tensors."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pave.bases import Base
from pave.bases.digest import known_by
from pave.bases.quantised import tell_other_quantization
from pave.errors import BaseError, PatchError
from pave.patches.config import LoraSpec, PatchConfig
from pave.texts import parse_json

if TYPE_CHECKING:
    from peft import LoraConfig

logger = logging.getLogger(__name__)

# What does not change the update: labels, and what differs between versions of peft.
_NOT_COMPARED = {
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "auto_mapping",
    "task_type",
    "peft_version",
    "runtime_config",
}
# What an update is made of.
_DECISIVE = ("r", "lora_alpha", "lora_dropout", "target_modules")
# Without one of these peft takes its default, which is right unless the patch says otherwise.
_OPTIONS = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


def check_base(config: PatchConfig, base: Base, folder: Path) -> None:
    """A patch fits a base of the same fingerprint whose widths its fusion has.

    Raises:
        PatchError: If they do not.
    """
    # Facts of shape, not the name: the same weights may lie under another path here.
    wanted = config.base.fingerprint
    own = base.fingerprint()
    facts = [
        f"{key} {wanted.get(key)!r} instead of {own.get(key)!r}"
        for key in sorted(wanted.keys() | own.keys())
        if wanted.get(key) != own.get(key)
    ]
    if facts:
        raise PatchError(
            f"{folder} was made for another base, {config.base.name} ({', '.join(facts[:3])}); "
            f"this one is {base.name}"
        )
    for part in config.parts.values():
        fusion = part.fusion
        # The query is taken before the projector or behind it, where tokens are as wide as the
        # model.
        query_dim = base.hidden_dim if fusion.query == "projected" else base.query_dim
        if (fusion.query_dim, fusion.out_dim) != (query_dim, base.hidden_dim):
            raise PatchError(
                f"{folder}: the widths of the fusion do not fit the base that patch.json names; "
                "the patch folder is inconsistent"
            )


def check_rank(tensors: Mapping[str, Tensor], lora: LoraSpec, where: str) -> None:
    """The file's LoRA must have the rank of patch.json, before layers of that rank are made.

    Args:
        tensors: Of the adapter file: `lora_A.weight` `[rank, in]`, `lora_B.weight` `[out, rank]`.
        lora: What patch.json says.
        where: The file, for the message.

    Raises:
        PatchError: If a tensor has another.
    """
    for key, tensor in tensors.items():
        # An unexpected name is told when all names are known.
        if ".lora_A." not in key and ".lora_B." not in key:
            continue
        rank = lora.rank_of(key.removeprefix("base_model.model.").partition(".lora_")[0])
        side = 1 if ".lora_B." in key else 0
        if tensor.dim() != 2 or tensor.shape[side] != rank:
            raise PatchError(
                f"{where}: {key} has shape {tuple(tensor.shape)}, which does not fit the LoRA of "
                f"rank {rank} in patch.json; the patch folder is inconsistent"
            )


def check_base_weights(config: PatchConfig, base: Base, where: str, refuse: bool) -> None:
    """A patch belongs to the very weights that it was trained on, not only to their shapes.

    Older patches, quantised bases and a tower that is on disk still say nothing.

    Args:
        config: The patch's.
        base: The base.
        where: What to call the patch.
        refuse: Refuse another base instead of a warning.

    Raises:
        PatchError: If they differ and `refuse` is set.
    """
    # Rounded weights are near enough to work, so no mistake, but not the same base.
    if config.base.quantized is not None:
        tell_other_quantization(where, config.base.quantized, base.config)
    wanted = config.base.weights
    if not wanted:  # an older patch, or one of a base that could not tell
        return
    own = known_by(base)
    # What only one of them knows is no difference.
    differ = sorted(part for part in wanted.keys() & own.keys() if wanted[part] != own[part])
    if not differ:
        return
    # A fine-tuned base may do as well: most people's business, hence a warning.
    what = (
        f"{where} was trained on a base of the same shapes but with other weights: the "
        f"{' and '.join(differ)} of {config.base.name} were not those of {base.name}"
    )
    if refuse:
        raise PatchError(f"{what}; load the base that it was trained on")
    logger.warning("%s; how well it works on this base has not been measured", what)


def feed_as_trained(config: PatchConfig, base: Base, taken: Collection[str]) -> None:
    """Feed the base as a patch was trained with; patches that share a base must agree on that.

    Args:
        config: The patch's.
        base: The base.
        taken: Names of the patches that are on it already.

    Raises:
        PatchError: If those want other inputs, or the base cannot be fed so.
    """
    if config.inputs != base.inputs:
        _feed(config, base, taken)
    if config.chat is not None and config.chat.style != base.chat.style:
        logger.warning(
            "the patch was trained in a chat format that differs from that of %s; questions are "
            "asked in the patch's format: %s",
            base.name,
            config.chat.turn,
        )


def _feed(config: PatchConfig, base: Base, taken: Collection[str]) -> None:
    if taken:  # the base cannot be fed in two ways at once
        facts = []
        for key, value in config.inputs:
            theirs = getattr(base.inputs, key)
            if value != theirs:
                facts.append(f"{key} {value!r} instead of {theirs!r}")
        raise PatchError(
            f"the patch was trained with other inputs ({', '.join(facts)}) than "
            f"{', '.join(taken)}, which is already loaded; patches can work together only with "
            "the same token layout and prompt"
        )
    try:
        base.use(config.inputs)
    except BaseError as error:
        raise PatchError(str(error)) from error


def check_adapter(path: Path, expected: LoraConfig) -> None:
    """The adapter's own config must say what patch.json says.

    Else plain peft would load another LoRA than pave does.

    Args:
        path: `lora/adapter_config.json`.
        expected: What patch.json means.

    Raises:
        PatchError: If it does not.
    """
    try:
        found = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PatchError(f"{path} cannot be read as JSON; the patch folder is damaged") from error
    if not isinstance(found, dict) or found.get("peft_type") != "LORA":
        raise PatchError(f"{path} does not describe a LoRA adapter")
    # Through JSON, so that sets and tuples compare with what the file can hold.
    wanted: dict[str, Any] = json.loads(json.dumps(expected.to_dict(), default=list))
    # Without one of these plain peft would take its own default, not the patch's number.
    told = [*_DECISIVE, *(key for key in _OPTIONS if wanted[key])]
    missing = [key for key in told if key not in found]
    if missing:
        raise PatchError(
            f"{path} lacks {', '.join(missing)}, so peft would load a different LoRA; the patch "
            "folder is damaged"
        )
    # Keys that only one of them knows belong to another version of peft.
    for key in sorted(wanted.keys() & found.keys() - _NOT_COMPARED):
        if found[key] != wanted[key]:
            raise PatchError(
                f"{path} says {key}={found[key]!r} but patch.json needs {wanted[key]!r}; the "
                "patch folder is inconsistent"
            )


def check_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], what: str) -> None:
    """Tensors must be exactly the expected ones in name and shape.

    Args:
        found: From a file.
        expected: The module's own.
        what: Named in the message.

    Raises:
        PatchError: If one is missing, unexpected, or of another shape.
    """
    if not isinstance(found, Mapping):  # from a program
        raise PatchError(f"{what}: tensors are given by name, got {type(found).__name__}")
    # All names before any shape: a wrong file is told as one.
    missing = sorted(expected.keys() - found.keys())
    if missing:
        raise PatchError(
            f"{what}: tensor {missing[0]} is missing ({len(missing)} in all); the file is "
            "incomplete"
        )
    extra = sorted(found.keys() - expected.keys())
    if extra:
        raise PatchError(
            f"{what}: tensor {extra[0]} is unexpected ({len(extra)} in all); it belongs to "
            "another patch or version"
        )
    for key, tensor in expected.items():
        if not isinstance(found[key], Tensor):
            raise PatchError(f"{what}: {key} is a {type(found[key]).__name__}, not a tensor")
        if tensor.shape != found[key].shape:
            raise PatchError(
                f"{what}: tensor {key} has shape {tuple(found[key].shape)}, expected "
                f"{tuple(tensor.shape)}"
            )


def check_weights(weights: Mapping[str, float], known: Collection[str]) -> None:
    """Weights must be finite numbers for patches that exist.

    Raises:
        PatchError: If one is not.
    """
    if not isinstance(weights, Mapping):
        raise PatchError(
            "patches are chosen as a mapping of names to weights, such as {'sound': 1.0}, got "
            f"{type(weights).__name__}"
        )
    for name, weight in weights.items():
        if name not in known:
            raise PatchError(
                f"there is no patch '{name}'; loaded patches: {', '.join(known) or 'none'}"
            )
        # True and False are ints in Python, but no weights.
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight):
            raise PatchError(
                f"the weight of patch '{name}' must be a finite number, got {weight!r}"
            )
