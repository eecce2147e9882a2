"""A patch folder out of a checkpoint: what the run would have saved at that step.

A checkpoint holds the weights that train, and what a patch's card says of the run so far. What else
a patch folder holds follows from the settings and the base, so neither records nor media are read.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from pave.bases import Base
from pave.bases.digest import language_digest
from pave.errors import TrainError
from pave.model import PatchedModel
from pave.placement import running_on
from pave.texts import read_object
from pave.train.checkpoints import is_whole, load_weights, newest_checkpoint, step_of
from pave.train.config import TrainConfig
from pave.train.folder import NOTE_NAME, SETTINGS_NAME
from pave.train.origin import NAME
from pave.train.precision import settled_precision
from pave.train.result import FACTS_NAME
from pave.train.run import base_of, patched_as
from pave.train.settings import load_config
from pave.train.start import add_new_patch, load_base_patches, make_encoders

log = logging.getLogger(__name__)

ADVICE = "name a checkpoint of `pave train`, or its run folder for the newest one"


def patch_of(
    source: str | Path,
    out: str | Path | None = None,
    *,
    base: str | None = None,
    loaded: Base | None = None,
) -> Path:
    """Write the patch that a checkpoint holds.

    Args:
        source: A checkpoint, or a run folder, whose newest one is taken.
        out: Folder of the patch; `patch-STEP` in the run folder when not given.
        base: Where the base lies now, if not where the run's settings have it.
        loaded: A loaded base to use instead; it is given back unpatched.

    Returns:
        The patch folder.

    Raises:
        TrainError: If there is no whole checkpoint, or it was made on another base.
        PatchError: If the folder holds something else.

    Example:
        >>> patch_of("runs/sound/checkpoints/checkpoint-400")  # doctest: +SKIP
        PosixPath('runs/sound/patch-400')
    """
    checkpoint = checkpoint_of(Path(source))
    run = checkpoint.parent.parent
    config = settings_of(run, base)
    step = step_of(checkpoint)
    # Not `patch`, by which a run is known to be finished.
    folder = run / f"patch-{step}"
    if out is not None:
        folder = Path(out)
    with running_on(config.device) as device:
        precision = settled_precision(config.precision, device)
        config = config.model_copy(update={"precision": precision})
        model = base_of(config, loaded, device)
        _check_base(run, model)
        with patched_as(model, config) as patched:
            _fill(patched, config, checkpoint)
            training = facts_of(checkpoint)
            patched.save_patch(folder, NAME, training=training, dtype=config.patch_dtype)
    return folder


def checkpoint_of(source: Path) -> Path:
    """The whole checkpoint that is named, or the newest one of a run folder.

    Raises:
        TrainError: If there is none.
    """
    # A run folder: the newest of its checkpoints.
    if (source / "checkpoints").is_dir():
        newest = newest_checkpoint(source / "checkpoints")
        if newest is None:
            raise TrainError(f"{source} holds no whole checkpoint; {ADVICE}")
        return newest
    # Its name says the step.
    if not step_of(source):
        raise TrainError(f"{source} is no checkpoint; {ADVICE}")
    if not is_whole(source):
        raise TrainError(f"the checkpoint {source} is incomplete or damaged; take another one")
    return source


def settings_of(run: Path, base: str | None = None) -> TrainConfig:
    """The settings of the run in a folder.

    Args:
        run: The run folder.
        base: What to put in place of the base that they name.

    Raises:
        TrainError: If it holds none.
    """
    file = run / SETTINGS_NAME
    if not file.is_file():
        raise TrainError(f"there is no {SETTINGS_NAME} in {run}, which a run of pave train writes")
    overrides: dict[str, Any] = {}
    if base is not None:
        overrides["base"] = base
    return load_config(file, overrides)


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """What a patch's card says of the training up to a checkpoint."""
    file = checkpoint / FACTS_NAME
    if not file.is_file():  # of an older pave
        return {"steps": step_of(checkpoint)}
    return read_object(file, TrainError, "take another checkpoint")


def _check_base(run: Path, base: Base) -> None:
    """The base must be the one that the run was made on."""
    note = read_object(run / NOTE_NAME, TrainError, "take another checkpoint")
    # The tower's is left out: it would have to be loaded.
    language, *_ = note.get("base") or [None]
    if language != language_digest(base):
        raise TrainError(
            f"{run} was made on another base than {base.name} is now; name its base with --base"
        )


def _fill(patched: PatchedModel, config: TrainConfig, checkpoint: Path) -> None:
    """The patch as the run made it, with the weights of the checkpoint."""
    base_patches = load_base_patches(patched, config)
    encoders = make_encoders(patched, base_patches, config)
    # Its first weights do not count, and an aligned start would be for nothing.
    add_new_patch(patched, encoders, base_patches, config)
    load_weights(checkpoint, patched.checkpoint_tensors())
