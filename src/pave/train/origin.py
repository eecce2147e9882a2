"""`Origin`: the patch or checkpoint from whose weights a run starts, instead of fresh ones.

The run is a run of its own: with its records, rates, steps and processes, and with a fresh
optimiser. What makes the weights what they are has to be the same: base, base patches, channels,
encoders, fusion and LoRA.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave import hf_compat
from pave.bases import Base
from pave.errors import ConfigError, TrainError
from pave.files import sha256_of
from pave.model import PatchedModel
from pave.patches.base_patches import weight_hashes
from pave.patches.config import PatchConfig
from pave.patches.fit import check_base, check_base_weights, check_tensors
from pave.patches.folder import PatchFiles, read_folder
from pave.patches.layout import FUSION, LORA
from pave.patches.lora import copy_values
from pave.patches.remote import locate
from pave.texts import read_object
from pave.train.checkpoints import WEIGHTS, is_whole, load_weights, step_of
from pave.train.config import TrainConfig
from pave.train.dotted import dotted

log = logging.getLogger(__name__)

NAME = "patch"
"""What the patch that trains is called on its model."""
CONFIG_NAME = "patch_config.json"
"""File of a checkpoint with the config of its patch, by which it is recognised as fitting."""
_SHOWN = 3  # differences in one message


@dataclass(frozen=True)
class Origin:
    """What a run starts from.

    Attributes:
        source: As the settings name it.
        config: What was trained.
        steps: For how many optimiser steps, if that is known.
        digests: SHA-256 of its weights, by file.
        folder: The checkpoint; None for a patch.
        files: The patch; None for a checkpoint.
    """

    source: str
    config: PatchConfig
    steps: int | None
    digests: Mapping[str, str]
    folder: Path | None = None
    files: PatchFiles | None = None

    @property
    def said(self) -> dict[str, Any]:
        """What a patch's card says of it."""
        # Where it lay is nobody's business who gets the patch.
        facts: dict[str, Any] = {"name": Path(self.source).name}
        if self.steps is not None:
            facts["steps"] = self.steps
        return facts | {"sha256": next(iter(self.digests.values()))}

    def check(self, planned: PatchConfig) -> None:
        """Refuse to start with weights of another kind.

        Args:
            planned: The config of the patch that is to be trained.

        Raises:
            ConfigError: If something differs that makes the weights what they are.
        """
        there, here = _facts(self.config), _facts(planned)
        if "chat" not in there:  # an older patch, which does not say
            here.pop("chat", None)
        differing = [name for name in there | here if there.get(name) != here.get(name)]
        if not differing:
            return
        # What follows from other channels would only hide them.
        if "channels" in differing:
            differing = ["channels"]
        told = [_told(name, there, here) for name in differing[:_SHOWN]]
        if len(differing) > _SHOWN:
            told.append(f"and {len(differing) - _SHOWN} more")
        raise ConfigError(
            f"start_from: {self.source} does not go on with these settings: {'; '.join(told)}"
        )

    def fill(self, patched: PatchedModel) -> None:
        """Give the fresh patch its weights, all of them to the bit.

        Raises:
            PatchError: If a tensor is missing, unexpected or of another shape.
            TrainError: If it is one of a checkpoint.
        """
        patch = patched.patches[NAME]
        # A checkpoint has weights by parameter, a patch by the keys of its files.
        if self.folder is not None:
            load_weights(self.folder, patched.checkpoint_tensors())
        if self.files is not None and patch.fusion is not None:
            check_tensors(self.files.fusion, patch.fusion.state_dict(), f"{self.source}/{FUSION}")
            patch.fusion.load_state_dict(self.files.fusion)
        if self.files is not None and patch.lora is not None:
            own = patch.lora.parameters()
            check_tensors(self.files.lora, own, f"{self.source}/{LORA}")
            copy_values(self.files.lora, own)
        log.info("the weights are those of %s; the optimiser is fresh", self.source)


def origin_of(config: TrainConfig, base: Base) -> Origin | None:
    """What the settings let a run start from; None for fresh weights.

    Raises:
        PatchError: If the patch cannot be read, or was made on another base.
        TrainError: If the checkpoint is not whole.
    """
    if config.start_from is None:
        return None
    folder = Path(config.start_from)
    if (folder / hf_compat.TRAINER_STATE).is_file():
        return _of_checkpoint(config.start_from, base)
    if (folder / "checkpoints").is_dir():
        raise ConfigError(
            f"start_from: {folder} is a run folder; name its patch, its best or one of its "
            "checkpoints"
        )
    # Weights of the same shapes are not enough: a patch corrects the very base it was trained on.
    files = read_folder(locate(config.start_from), base)
    check_base_weights(files.config, base, config.start_from, refuse=True)
    steps = files.config.training.get("steps")
    digests = weight_hashes(files.config.files)
    return Origin(config.start_from, files.config, steps, digests, files=files)


def _of_checkpoint(source: str, base: Base) -> Origin:
    """What a checkpoint of a run holds.

    Raises:
        TrainError: If it is not whole, or does not say what it trained.
        PatchError: If it is for another base.
    """
    folder = Path(source)
    if not is_whole(folder):
        raise TrainError(f"the checkpoint {source} is incomplete or damaged; take another one")
    advice = f"make a patch of it first: pave patch {source}"
    if not (folder / CONFIG_NAME).is_file():
        raise TrainError(
            f"{source} is of an older pave, and does not say what it trained; {advice}"
        )
    try:
        config = PatchConfig.model_validate(read_object(folder / CONFIG_NAME, TrainError, advice))
    except ValidationError as error:
        raise TrainError(f"{folder / CONFIG_NAME} is damaged; {advice}") from error
    # As `read_folder` does for a patch.
    check_base(config, base, folder)
    check_base_weights(config, base, source, refuse=True)
    digests = {WEIGHTS: sha256_of(folder / WEIGHTS)}
    return Origin(source, config, step_of(folder), digests, folder=folder)


def _told(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    return f"{name} is {there.get(name)} there and {here.get(name)} here"


def _facts(config: PatchConfig) -> dict[str, Any]:
    """What makes weights what they are, by dotted names; dropout is of the training alone."""
    found: dict[str, Any] = {"channels": ", ".join(config.parts) or "none"}
    for channel, part in config.parts.items():
        found |= dotted(part.model_dump(mode="json", exclude={"lora"}), f"{channel}.")
    for channel, lora in config.loras.items():
        where = "lora."
        if channel:  # else it is one for all channels
            where = f"{channel}.lora."
        fields = lora.model_dump(mode="json")
        found |= dotted(fields, where)
    inputs = config.inputs.model_dump(mode="json")
    found |= dotted(inputs, "inputs.")
    # By the hashes of their weights: names differ from model to model.
    found["base_patches"] = [(patch.files, patch.lora) for patch in config.base_patches]
    if config.chat is not None:
        found["chat"] = config.chat.turn
    for name in list(found):
        # An empty block of settings says nothing.
        if name.endswith("dropout") or found[name] == {}:
            del found[name]
    return found
