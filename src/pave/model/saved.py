"""Saved patches: what `PatchedModel` reads from a patch folder, and what it writes into one.

Nothing here changes the model: a patch is read and checked as a whole, then put on the base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pave.bases import Base
from pave.errors import PatchError
from pave.patches.base_patches import with_hashes, with_names
from pave.patches.config import PatchConfig
from pave.patches.fit import check_base_weights, check_tensors
from pave.patches.folder import PatchFiles, read_folder, write_folder
from pave.patches.layout import FUSION, LORA
from pave.patches.lora import Lora, Loras, copy_values
from pave.patches.names import default_name, free_name
from pave.patches.new import DROPPED, saved_config
from pave.patches.parts import fusion_of
from pave.patches.patch import Patch
from pave.patches.remote import locate
from pave.patches.scores import Evaluation, read_scores


@dataclass(frozen=True)
class SavedPatch:
    """A patch as it came out of a folder, not yet on the base.

    Attributes:
        folder: Where it lies.
        name: What it will be called.
        config: Its config, with the names that its base patches have on this model.
        fusion: Its fusion with the saved weights, or None.
        lora: Tensors of its LoRA by their key in the adapter file.
    """

    folder: Path
    name: str
    config: PatchConfig
    fusion: nn.Module | None
    lora: Mapping[str, Tensor]

    def fill(self, lora: Lora | Loras) -> None:
        """Put the saved values into a fresh LoRA: its shapes are known once it is in the layers.

        Raises:
            PatchError: If a tensor is missing, unexpected or of another shape.
        """
        own = lora.parameters()
        check_tensors(self.lora, own, str(self.folder / LORA))
        copy_values(self.lora, own)


def read_patch(
    source: str | Path,
    name: str | None,
    base: Base,
    patches: Mapping[str, Patch],
    *,
    same_weights: bool,
    revision: str | None,
    token: str | bool | None,
) -> SavedPatch:
    """Read a patch and check it against the base and the patches that are on it.

    Args:
        source: A patch folder, or a Hub id `owner/name`.
        name: What to call it; the folder's name when not given.
        base: The base it is for.
        patches: Patches on the base.
        same_weights: Refuse a patch that was trained on other weights; else there is a warning.
        revision: Of a Hub id.
        token: To read it with.

    Raises:
        PatchError: If the folder is incomplete, damaged or unsafe, the patch was made for another
            base, a base patch of it is not there, or the name is taken or invalid.
    """
    folder = locate(source, revision, token)
    files = read_folder(folder, base)
    # Shapes agree by now; the weights behind them may be another model's.
    check_base_weights(files.config, base, str(source), same_weights)
    config = with_names(files.config, patches, str(folder))
    name = free_name(name or default_name(source, folder), config.parts, patches)
    # Shapes alone first: what patch.json asks for takes no memory before the file agrees.
    with torch.device("meta"):
        shapes = fusion_of(config)
    fusion = None  # a LoRA-only patch has none
    if shapes is not None:
        check_tensors(files.fusion, shapes.state_dict(), str(folder / FUSION))
        fusion = fusion_of(config)
        assert fusion is not None  # as before
        fusion.load_state_dict(files.fusion)
    return SavedPatch(folder, name, config, fusion, files.lora)


def write_patch(
    folder: str | Path,
    patch: Patch,
    base: Base,
    patches: Mapping[str, Patch],
    given: Mapping[str, Any],
) -> Path:
    """Write a patch folder; the patch then knows what its files hold.

    Args:
        folder: Where to.
        patch: What to write.
        base: The base it is for.
        patches: Patches on the base, by whose hashes its base patches will be recognised.
        given: Fields of its config that replace the patch's own; None leaves them.

    Raises:
        PatchError: If the folder holds something else, the weights hold a NaN, or a base patch of
            it was never saved or has changed since.
    """
    if not isinstance(folder, str | Path):
        raise PatchError(f"a patch is saved to a folder, got {type(folder).__name__}")
    # Refused before the disk is touched: a base patch without files, a field that is wrong.
    config = with_hashes(saved_config(patch.config, {**_outdated(patch), **given}), patches)
    files = PatchFiles(config, {}, {}, _measured(patch))  # filled below
    if patch.fusion is not None:
        files.fusion.update(patch.fusion.state_dict())
    if patch.lora is not None:
        files.lora.update(patch.lora.parameters())
    patch.config = write_folder(Path(folder), files, base)
    patch.saved, patch.folder = patch.changes(), Path(folder)
    return Path(folder)


def _outdated(patch: Patch) -> dict[str, Any]:
    """What was said of weights that the patch no longer has, to be dropped."""
    if not patch.changed:
        return {}
    return {"probe": DROPPED, "example": DROPPED}


def _measured(patch: Patch) -> Sequence[Evaluation]:
    """What was measured with the weights that the patch still has."""
    if patch.changed or patch.folder is None or not patch.folder.is_dir():
        return ()
    return read_scores(patch.folder, patch.config)
