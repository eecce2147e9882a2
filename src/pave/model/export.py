"""Patches for others: a LoRA merged into a plain model folder."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pave.bases import Base
from pave.errors import PatchError
from pave.files import writing
from pave.patches.config import PatchConfig
from pave.patches.lora import merged_weight
from pave.patches.names import known_name

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

logger = logging.getLogger(__name__)

# What a base's folder holds beside its weights, which transformers would read of it.
_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
_WEIGHTS = (".safetensors.index.json", ".bin.index.json")


def export_merged(model: PatchedModel, folder: str | Path, name: str | None = None) -> Path:
    """Write a plain model folder of a base with a LoRA-only patch merged into its weights.

    transformers loads it by itself. The model stays as it is. The folder is complete or not there.

    Args:
        model: A base with the patch on it.
        folder: Where to; new or empty.
        name: Which patch; the only one when not given.

    Raises:
        PatchError: If the patch has a fusion, was trained on top of others, or is on layers without
            plain weights; if the folder is in use or cannot be written.
    """
    name = known_name(name, model.patches)
    _must_be_lora_only(model.patches[name].config, name)
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PatchError(f"{folder} is in use; choose a new or empty folder")
    if not model.base.tower_loaded:
        model.base.load_tower()
    weights = _merged_weights(model, name)
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside the target, so that a rename puts it in place as a whole.
            with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as place:
                made = Path(place) / folder.name
                _copy_beside(model.base, made)
                model.base.tokenizer.save_pretrained(made)
                model.model.save_pretrained(made, state_dict=weights)
                if folder.exists():
                    folder.rmdir()
                made.rename(folder)
    except OSError as error:
        raise PatchError(f"cannot write the model: {error.strerror or error}") from error
    return folder


def _must_be_lora_only(config: PatchConfig, name: str) -> None:
    """Refuse what a plain model cannot hold."""
    if config.parts:
        raise PatchError(
            f"patch '{name}' has a fusion for the channel {' and '.join(config.parts)}, which only "
            "pave reads; use it with pave, or its lora/ folder alone with peft"
        )
    if config.base_patches:
        raise PatchError(
            f"patch '{name}' was trained on top of {config.base_patches[0].name}; a patch that "
            "needs another patch cannot be exported alone"
        )


@torch.no_grad()
def _merged_weights(model: PatchedModel, name: str) -> dict[str, Tensor]:
    """The plain model's state dict, with the update in it."""
    weights: dict[str, Tensor] = {}
    for key, tensor in model.model.state_dict().items():
        # peft wraps the layers that it adapts; other patches' LoRAs are left out.
        if ".lora_" not in key:
            weights[key.replace(".base_layer.", ".")] = tensor
    for path, layer in model.loras.layers.items():
        if name not in layer.lora_A:
            continue
        plain = layer.get_base_layer()
        if type(plain) is not nn.Linear:
            raise PatchError(
                f"{path} is a {type(plain).__name__}, which has no plain weights that a LoRA "
                "could be merged into; load the base without --quantize"
            )
        # Summed in fp32 and rounded once.
        weights[f"{path}.weight"] = merged_weight(layer, name).to(plain.weight.dtype)
    return weights


def _copy_beside(base: Base, folder: Path) -> None:
    """Copy what lies beside the base's weights: processors and templates."""
    folder.mkdir()
    source = None if base.origin is None else Path(base.origin.source)
    if source is None or not source.is_dir():
        logger.warning(
            "the processor files of %s were not found, so %s contains only weights and "
            "tokenizer; copy the processor files from the base",
            base.name,
            folder.name,
        )
        return
    for pattern in _BESIDE:
        for file in source.glob(pattern):
            if not file.name.endswith(_WEIGHTS):
                shutil.copy(file, folder / file.name)
