"""Checkpoints that are whole or absent.

They are written beside their place, renamed into it, and checked before they are trusted. A
checkpoint holds what the patch has learnt (`WEIGHTS`) beside the Trainer's own files, and the
SHA-256 of every one of them (`DIGESTS`): a damaged byte must not train on unseen.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pave import hf_compat
from pave.errors import TrainError
from pave.files import give_usual_rights, sha256_of, write_text_atomically, writing
from pave.texts import counted, parse_json

log = logging.getLogger(__name__)

WEIGHTS = "model.safetensors"
DIGESTS = "digests.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def save_weights(folder: Path, parameters: Mapping[str, Tensor]) -> None:
    """Write parameters and buffers, and nothing else, to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    # Copies, because safetensors refuses tensors that share memory.
    state = {}
    for name, value in parameters.items():
        here = value.detach().cpu()
        state[name] = here.contiguous().clone()
    save_file(state, folder / WEIGHTS)
    give_usual_rights(folder / WEIGHTS)


@contextmanager
def saving(checkpoint: Path) -> Iterator[None]:
    """What cannot be written in here is said of the checkpoint.

    Raises:
        PlaceError: If the system or safetensors refuses.
        TrainError: If torch does, which keeps the system's reason to itself.
    """
    try:
        with writing(checkpoint):
            yield
    except RuntimeError as error:
        if not hf_compat.is_write_failure(error):
            raise
        raise TrainError(
            f"the checkpoint {checkpoint} cannot be written completely; free some space and "
            "repeat the command"
        ) from error


def check_finite(parameters: Mapping[str, Tensor], step: int) -> None:
    """Refuse to keep weights that are no numbers: they would push out the last good ones.

    Raises:
        TrainError: If one is NaN or infinite; it names the parameter.
    """
    for name, value in parameters.items():
        if not bool(torch.isfinite(value).all()):
            raise TrainError(
                f"after step {step} the weights are not finite ({name}), so no checkpoint was "
                "written; earlier ones remain. Lower the learning rates or lengthen the "
                "warm-up, and train in a new folder"
            )


def load_weights(folder: Path, parameters: Mapping[str, Tensor]) -> None:
    """Copy the weights of a checkpoint into tensors of exactly the same names and shapes.

    Raises:
        TrainError: If names or shapes differ, or a weight is no number.
    """
    state = load_file(folder / WEIGHTS)
    if state.keys() != parameters.keys():
        odd = sorted(state.keys() ^ parameters.keys())
        raise TrainError(
            f"{folder} belongs to another model "
            f"({counted(len(odd), 'name differs', 'names differ')}, for example {odd[0]}); train "
            "in a new folder"
        )
    for name, value in state.items():
        if value.shape != parameters[name].shape:
            raise TrainError(
                f"{folder}: {name} has shape {tuple(value.shape)}, not "
                f"{tuple(parameters[name].shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise TrainError(
                f"{folder} contains weights that are not finite ({name}); delete it to resume "
                "from an earlier checkpoint"
            )
        # Not through .data, which would hide the change from whoever counts them.
        with torch.no_grad():
            parameters[name].copy_(value)


def publish(staging: Path, final: Path, keep: int) -> None:
    """Move a finished checkpoint into place and delete all but the newest `keep`.

    It counts as the newest. Those of later steps were not whole, or the run would have gone on from
    them.
    """
    digests = {}
    for file in sorted(staging.iterdir()):
        digests[file.name] = sha256_of(file)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    write_text_atomically(staging / DIGESTS, json.dumps(digests, indent=1))
    _remove(final)
    os.replace(staging, final)
    found = _numbered(final.parent)  # newest first
    kept = [path for path in found if step_of(path) <= step_of(final)][:keep]
    for old in found:
        if old not in kept:
            _remove(old)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint, or what lies in its place; of a link, the link alone."""
    if checkpoint.is_dir() and not checkpoint.is_symlink():
        shutil.rmtree(checkpoint)
    else:
        checkpoint.unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the highest step that has all its parts unharmed, or None.

    What is passed over is said in the log.

    Args:
        folder: Where checkpoints lie.
    """
    for path in _numbered(folder):
        if is_whole(path):
            return path
        log.warning("the checkpoint %s is incomplete and is skipped", path)
    return None


def is_whole(path: Path) -> bool:
    """Whether a checkpoint has all its parts unharmed, however many processes made it."""
    processes = processes_of(path)
    if processes == 0:  # no random state is there at all
        return False
    parts = (WEIGHTS, hf_compat.TRAINER_STATE, *hf_compat.checkpoint_files(processes))
    for name in parts:
        part = path / name
        # To open a pipe in the place of one is to wait for it.
        if not part.is_file() or part.stat().st_size == 0:
            return False
    try:
        with safe_open(path / WEIGHTS, "pt"):  # reads the header, which knows the file's length
            state = parse_json((path / hf_compat.TRAINER_STATE).read_bytes())
        # An object of the Trainer's; another program's says no step, or another one.
        whole = isinstance(state, dict) and state.get("global_step") == step_of(path)
        return whole and _unharmed(path)
    except (OSError, ValueError, SafetensorError):
        return False


def processes_of(checkpoint: Path) -> int:
    """How many processes made a checkpoint: each left its random state."""
    if (checkpoint / "rng_state.pth").is_file():
        return 1
    return len(list(checkpoint.glob("rng_state_*.pth")))


def step_of(checkpoint: Path) -> int:
    """The optimiser step a checkpoint was made after; 0 for a folder of another name."""
    match = _NAME.fullmatch(checkpoint.name)
    if match is None:
        return 0
    return int(match.group(1))


def _numbered(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def _unharmed(path: Path) -> bool:
    """Whether all files are those that were written; an older pave kept no digests to tell."""
    note = path / DIGESTS
    if not os.path.lexists(note):
        return True
    if not note.is_file():  # to open a pipe is to wait for it
        return False
    digests = parse_json(note.read_bytes())
    if not isinstance(digests, dict):
        return False
    for name, digest in digests.items():
        # Only what lies in the checkpoint, and nothing that is no file.
        if Path(name).name != name or not (path / name).is_file():
            return False
        if sha256_of(path / name) != digest:
            return False
    return True
