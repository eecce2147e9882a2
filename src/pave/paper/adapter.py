"""The LoRA of one of the authors' checkpoints, renamed for Hugging Face's LLaVA-OneVision.

They trained peft's LoRA on every `*_proj` of a plain Qwen2 model, so keys begin with
`base_model.model.model.layers`; in Hugging Face's LLaVA-OneVision the same layers lie in
`model.language_model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from pave.bases import Base
from pave.errors import PatchError
from pave.paper.weights import first_file, read_state
from pave.patches.config import LoraSpec, reason
from pave.patches.lora_targets import lora_shapes
from pave.texts import read_object

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
UNPACK = "unpack the checkpoint again"
_KEY = re.compile(r"^base_model\.model\.model\.(layers\..+)\.(lora_[AB])(?:\.default)?\.weight$")
# What a LoRA of pave's patch folder cannot say, with the values that mean nothing.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None),
    "use_dora": (False, None),
    "use_rslora": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": (None, []),
    "layers_to_transform": (None, []),
}


def read_adapter(folder: Path, base: Base) -> tuple[LoraSpec | None, dict[str, Tensor]]:
    """The LoRA of a checkpoint folder; none for a checkpoint of the fusion alone.

    Args:
        folder: The checkpoint.
        base: Names the modules; its weights are not needed.

    Returns:
        The LoRA's shape, and its tensors by their keys in a patch's adapter file.

    Raises:
        PatchError: If a file or a tensor is missing, or the adapter does not fit the base or the
            patch format.
    """
    # peft writes both files or neither; one alone is half a download.
    weights = first_file(folder, FILES)
    described = (folder / CONFIG).is_file()
    if weights is None and not described:
        return None, {}
    if weights is None:
        raise PatchError(f"{folder} has {CONFIG} but neither {' nor '.join(FILES)}; {UNPACK}")
    if not described:
        raise PatchError(f"{folder} has {weights.name} but no {CONFIG}; {UNPACK}")
    settings = _settings(folder / CONFIG)
    # Under the names of Hugging Face's model, the base can be asked which shapes it wants.
    tensors = _rename(read_state(weights), base.family.language_model, weights)
    try:
        spec = LoraSpec(
            rank=settings["r"],
            alpha=settings["lora_alpha"],
            dropout=settings.get("lora_dropout", 0.0),
            targets=_targets(tensors, base),
        )
    except ValidationError as error:
        raise PatchError(f"{folder / CONFIG}: {reason(error)}; {UNPACK}") from error
    _check(tensors, spec, base, weights)
    return spec, tensors


def _settings(path: Path) -> dict[str, Any]:
    """The adapter's configuration, if a patch can say all of it."""
    found = read_object(path, PatchError, UNPACK)
    if not {"r", "lora_alpha"} <= set(found):
        raise PatchError(f"{path} does not describe a LoRA: r or lora_alpha is missing")
    for key, plain in _PLAIN.items():
        if found.get(key) not in plain:
            raise PatchError(
                f"{path}: {key}={found[key]!r} cannot be stored in a patch, which takes plain "
                "LoRAs only"
            )
    return found


def _rename(state: Mapping[str, Tensor], language_model: str, where: Path) -> dict[str, Tensor]:
    """The adapter's tensors under the names that peft gives them in a patch."""
    renamed = {}
    for key, tensor in state.items():
        match = _KEY.match(key)
        if match is None:
            raise PatchError(
                f"{where} holds {key}, which is not a LoRA tensor of a Qwen2 layer; check that "
                "it is one of the authors' files"
            )
        if not isinstance(tensor, Tensor):
            raise PatchError(f"{where}: {key} is a {type(tensor).__name__}, not a tensor; {UNPACK}")
        layer, matrix = match.groups()  # "layers.0.self_attn.q_proj", "lora_A"
        renamed[f"base_model.model.model.{language_model}.{layer}.{matrix}.weight"] = tensor
    if not renamed:
        raise PatchError(
            f"{where} holds no tensors; the sharded model was not gathered when it was saved"
        )
    return renamed


def _targets(tensors: Mapping[str, Tensor], base: Base) -> tuple[str, ...] | None:
    """The modules that have a LoRA: None for the family's usual ones."""
    # ...layers.0.self_attn.q_proj.lora_A.weight -> q_proj
    targets = {key.rsplit(".", 3)[1] for key in tensors}
    if targets == set(base.family.lora_targets):
        return None
    return tuple(sorted(targets))


def _check(tensors: Mapping[str, Tensor], spec: LoraSpec, base: Base, where: Path) -> None:
    """Every targeted module of the language model must have its two tensors, in their shapes."""
    expected: dict[str, tuple[int, int]] = {}
    # A is [rank, inputs], B is [outputs, rank].
    for name, inputs, outputs in lora_shapes(base.model, spec, base.family):
        expected[f"base_model.model.{name}.lora_A.weight"] = (spec.rank, inputs)
        expected[f"base_model.model.{name}.lora_B.weight"] = (outputs, spec.rank)
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is not in {base.name}" for key in tensors if key not in expected]
    for key, shape in expected.items():
        if key in tensors and tuple(tensors[key].shape) != shape:
            has = list(tensors[key].shape)
            problems.append(f"{key} has shape {has}, {base.name} needs {list(shape)}")
    if problems:
        raise PatchError(
            f"{where} does not fit the base: {first_of(problems)}; check that it was made for a "
            "base of this size"
        )


def first_of(problems: list[str]) -> str:
    """The first of some problems, and how many there are besides.

    Example:
        >>> first_of(["q_proj is missing", "k_proj is missing"])
        'q_proj is missing (and 1 more)'
    """
    more = len(problems) - 1
    return f"{problems[0]} (and {more} more)" if more else problems[0]
