"""The LoRA of one of the authors' checkpoints, renamed for Hugging Face's LLaVA-OneVision.

They trained peft's LoRA on every `*_proj` of a plain Qwen2 model, so keys begin with
`base_model.model.model.layers`; in Hugging Face's LLaVA-OneVision the same layers lie in
`model.language_model`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pave.bases import Base
from pave.errors import PatchError
from pave.paper.weights import read_state
from pave.patches.config import LoraSpec
from pave.patches.lora import lora_shapes

CONFIG = "adapter_config.json"
FILES = ("adapter_model.safetensors", "adapter_model.bin")
_KEY = re.compile(r"^base_model\.model\.model\.(layers\..+)\.(lora_[AB])(?:\.default)?\.weight$")
# What a LoRA of pave's patch folder cannot say, with the values that mean nothing.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": ("none", None), "use_dora": (False, None), "use_rslora": (False, None), "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "modules_to_save": (None, []), "layers_to_transform": (None, []),
}  # fmt: skip


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
    weights = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if not (folder / CONFIG).is_file():
        if weights is not None:
            raise PatchError(
                f"{folder} has {weights.name} but no {CONFIG}; unpack the checkpoint again"
            )
        return None, {}
    if weights is None:
        raise PatchError(
            f"{folder} has {CONFIG} but neither {' nor '.join(FILES)}; unpack the checkpoint again"
        )
    settings = _settings(folder / CONFIG)
    tensors = _rename(read_state(weights), base.family.language_model, weights)
    targets = {key.rsplit(".", 3)[1] for key in tensors}
    family = set(base.family.lora_targets)
    spec = LoraSpec(
        rank=settings["r"],
        alpha=settings["lora_alpha"],
        dropout=settings.get("lora_dropout", 0.0),
        targets=None if targets == family else tuple(sorted(targets)),
    )
    _check(tensors, spec, base, weights)
    return spec, tensors


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PatchError(
            f"{path} is no valid JSON ({error}); unpack the checkpoint again"
        ) from error
    if not isinstance(found, dict) or not {"r", "lora_alpha"} <= set(found):
        raise PatchError(f"{path} describes no LoRA; it names no r and lora_alpha")
    odd = [key for key, plain in _PLAIN.items() if found.get(key) not in plain]
    if odd:
        raise PatchError(
            f"{path}: {odd[0]}={found[odd[0]]!r} cannot be kept in a patch; only a plain LoRA can"
        )
    return found


def _rename(state: Mapping[str, Tensor], language_model: str, where: Path) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        match = _KEY.match(key)
        if match is None:
            raise PatchError(
                f"{where} holds {key}, which is no LoRA tensor of a Qwen2 layer; is it one of the "
                "authors' files?"
            )
        if not isinstance(tensor, Tensor):
            raise PatchError(
                f"{where}: {key} is a {type(tensor).__name__}, not a tensor; unpack the "
                "checkpoint again"
            )
        renamed[f"base_model.model.model.{language_model}.{match[1]}.{match[2]}.weight"] = tensor
    if not renamed:
        raise PatchError(
            f"{where} holds no tensors; it was saved without gathering the sharded model"
        )
    return renamed


def _check(tensors: Mapping[str, Tensor], spec: LoraSpec, base: Base, where: Path) -> None:
    """Every targeted module of the language model must have its two tensors, in their shapes."""
    expected: dict[str, tuple[int, int]] = {}
    for name, inputs, outputs in lora_shapes(base.model, spec, base.family):
        expected[f"base_model.model.{name}.lora_A.weight"] = (spec.rank, inputs)
        expected[f"base_model.model.{name}.lora_B.weight"] = (outputs, spec.rank)
    problems = [f"{key} is missing" for key in expected if key not in tensors]
    problems += [f"{key} is not in {base.name}" for key in tensors if key not in expected]
    problems += [
        f"{key} has shape {list(tensors[key].shape)}, {base.name} needs {list(shape)}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != shape
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise PatchError(
            f"{where} does not fit the base: {problems[0]}{more}; is it for a base of another size?"
        )
