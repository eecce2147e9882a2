"""The patch folder (`pave.patches.layout`): written atomically, read strictly.

Reading trusts nothing: paths must stay in the folder (links may only lead to the blobs of a Hub
cache), hashes must agree, and the tensors must be exactly the expected ones in name, shape and
kind. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pave.bases import Base
from pave.errors import ConfigError, PatchError
from pave.files import (
    as_path,
    clear_left_overs,
    give_usual_rights,
    is_clutter,
    must_be_name,
    sha256_of,
    sync,
    writing,
)
from pave.patches.card import make_card
from pave.patches.config import SCHEMA_VERSION, PatchConfig, reason
from pave.patches.fit import check_adapter, check_base, check_rank
from pave.patches.installed import names_like
from pave.patches.layout import (
    CARD,
    FUSION,
    LORA,
    MANIFEST,
    inside,
    is_part,
    lora_files,
    weight_files,
)
from pave.patches.lora import in_channel, of_channel
from pave.patches.lora_targets import lora_config
from pave.patches.scores import Evaluation, read_scores, write_scores
from pave.texts import parse_json

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_STORED = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_MANIFEST_LIMIT = 1 << 22  # bytes; a true one has a few thousand


@dataclass(frozen=True)
class PatchFiles:
    """A patch as it lies on disk.

    Attributes:
        config: Content of `patch.json`.
        fusion: State dict of the fusion; empty for a LoRA-only patch.
        lora: Adapter tensors by their key in the adapter file, with `<channel>/` in front where
            channels have a LoRA each; empty for a patch without LoRA.
        scores: What was measured with these weights.
    """

    config: PatchConfig
    fusion: dict[str, Tensor]
    lora: dict[str, Tensor]
    scores: Sequence[Evaluation] = ()


def write_folder(folder: Path, files: PatchFiles, base: Base) -> PatchConfig:
    """Write a patch folder so that it is either complete or not there.

    Everything goes to a temporary folder beside the target, is flushed to disk and renamed into
    place; an older patch of the same path is moved aside first and deleted last.

    Args:
        folder: Where to; must not exist, be empty, or hold nothing but an older patch.
        files: What to write; `config.files` is filled in, the card is made.
        base: The base that the patch is for.

    Returns:
        The config as written.

    Raises:
        PatchError: If the target holds something else, or cannot be written, or a weight is a NaN.
    """
    must_be_name(folder)
    folder = folder.resolve()
    # All that can be refused is refused before the disk is touched.
    _check_target(folder)
    _check_values(files.fusion, FUSION)
    _check_values(files.lora, LORA)
    files = _rounded(files)
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # On the same disk as the target, so that a rename is enough.
            clear_left_overs(folder.parent.glob(f".{escape(folder.name)}.*.tmp"))
            staging = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.tmp"
            staging.mkdir()
            try:
                config = _fill(staging, files, base, title=folder.name)
                _swap(staging, folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise PatchError(
            f"cannot write the patch to {folder}: {error.strerror or error}"
        ) from error
    return config


def _fill(folder: Path, files: PatchFiles, base: Base, title: str) -> PatchConfig:
    """Write everything into an empty folder; the config as written."""
    config = files.config
    for channel, spec in config.loras.items():
        _, weights = lora_files(channel)
        adapter = lora_config(spec, base.family, config.base.name)
        adapter.save_pretrained(str((folder / weights).parent))
        _save(of_channel(files.lora, channel), folder / weights, {"format": "pt"})
    if config.parts:
        _save(files.fusion, folder / FUSION, _belonging(config, folder))
    # Of what is on disk now, not of what was meant to be written.
    hashes = {name: sha256_of(folder / name) for name in weight_files(config)}
    config = config.model_copy(update={"files": hashes})
    scores = [one.model_copy(update={"weights": hashes}) for one in files.scores]
    if scores:
        write_scores(folder, scores)
    (folder / CARD).write_text(make_card(config, title, scores), encoding="utf-8")
    (folder / MANIFEST).write_text(manifest_text(config), encoding="utf-8")
    # On disk before the rename: a power cut must not leave a whole name with empty files.
    for path in [*folder.rglob("*"), folder]:
        sync(path)
    return config


def _rounded(files: PatchFiles) -> PatchFiles:
    """The same files with their tensors in the type that the config names.

    Raises:
        PatchError: If a weight is too large for that type.
    """
    word = files.config.dtype
    if word == "fp32":  # what is in memory; float64 of a patch that was cast by hand stays so
        return files
    rounded = PatchFiles(files.config, {}, {})  # filled below
    parts = [(FUSION, files.fusion, rounded.fusion), (LORA, files.lora, rounded.lora)]
    for where, tensors, halves in parts:
        for key, tensor in tensors.items():
            half = tensor.detach().to(_STORED[word])
            # All values were finite before: beyond 65,504 fp16 has only infinity.
            if not bool(torch.isfinite(half).all()):
                raise PatchError(
                    f"{where}: tensor {key} holds values beyond the range of {word}; save it in "
                    "fp32 or bf16"
                )
            halves[key] = half
    return rounded


def manifest_text(config: PatchConfig) -> str:
    """The text of `patch.json`."""
    return config.model_dump_json(indent=2) + "\n"


def _belonging(config: PatchConfig, folder: Path) -> dict[str, str]:
    """What the fusion's file says of itself, should it ever be found alone.

    The patch is named by the hash of its LoRA, which is written by now; `patch.json` holds the
    fusion's own. One key, since safetensors writes several in any order, and the same patch must
    have the same bytes.
    """
    facts: dict[str, Any] = {"base": config.base.name, "channel": config.channel}
    if config.base.revision is not None:
        facts["base_revision"] = config.base.revision
    if config.encoder is not None:
        facts["encoder"] = config.encoder.name
    if config.channels:
        facts["channels"] = list(config.channels)
    if config.task is not None:
        facts["task"] = config.task
    for channel in config.loras:
        _, weights = lora_files(channel)
        facts["_".join(filter(None, ["lora", channel, "sha256"]))] = sha256_of(folder / weights)
    return {"pave": json.dumps(facts)}


def _save(tensors: Mapping[str, Tensor], path: Path, header: dict[str, str]) -> None:
    path.parent.mkdir(exist_ok=True)
    own = {}
    for key, tensor in tensors.items():
        # A copy: safetensors refuses tensors that share memory.
        own[key] = tensor.detach().to("cpu", copy=True).contiguous()
    save_file(own, path, metadata=header)
    give_usual_rights(path)


def _swap(staging: Path, folder: Path) -> None:
    """Put `staging` in `folder`'s place; what was there comes back if that fails."""
    old = staging.with_suffix(".old")
    moved = folder.exists()
    if moved:  # a folder that is not empty cannot be renamed over
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if moved:  # the older patch is whole and stays
            old.rename(folder)
        raise
    sync(folder.parent)
    # This one's and those of writers that were killed: a whole newer patch is in place.
    for older in _moved_aside(folder):
        shutil.rmtree(older, ignore_errors=True)


def _moved_aside(folder: Path) -> list[Path]:
    """Older patches that gave way to a newer one."""
    return sorted(folder.parent.glob(f".{escape(folder.name)}.*.old"))


def _interrupted(folder: Path) -> str:
    """What a killed writer left in the place of a patch, as the end of a message."""
    found = [path for path in _moved_aside(folder) if (path / MANIFEST).is_file()]
    if not found:
        return ""
    return (
        f"; saving it was interrupted, and the patch that was there lies in {found[-1]}; rename "
        f"that folder to {folder.name}"
    )


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but an older patch."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PatchError(f"{folder} is a file; name a folder for the patch")
    found = set()  # files and links, empty folders do no harm
    for path in folder.rglob("*"):
        # What a desktop leaves there goes with the older patch.
        if is_clutter(path.name):
            continue
        if path.is_symlink() or not path.is_dir():
            found.add(path.relative_to(folder).as_posix())
    if found and MANIFEST not in found:
        raise PatchError(
            f"{folder} holds other files than those of a patch; choose a new or empty folder"
        )
    strange = sorted(name for name in found if not is_part(name))
    if strange:
        raise PatchError(
            f"{folder} holds {strange[0]}, which is not part of a patch; move it away, or choose "
            "another folder"
        )


def read_config(folder: Path) -> PatchConfig:
    """Read and check `patch.json` alone (for `info` and the like).

    Raises:
        PatchError: If there is none, or it is damaged or of an unknown version.
    """
    folder = as_path(folder, PatchError, "a patch folder")
    # Not pathlib's, which raises at a name that the system cannot have.
    if not os.path.isdir(folder):
        hint = _interrupted(folder) or names_like(str(folder))
        raise PatchError(f"there is no patch folder at {folder}{hint}")
    path = inside(folder, MANIFEST)
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise PatchError(f"{path} is too large for a patch manifest; the folder is damaged")
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PatchError(
            f"{path} cannot be read as JSON; the patch folder is damaged ({error})"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    # Not by `in`: True == 1.
    if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
        raise PatchError(
            f"{path} has schema version {version!r}, this pave reads 1 to {SCHEMA_VERSION}; update "
            "pave or convert the patch"
        )
    try:
        # As JSON, where a list may be a tuple.
        return PatchConfig.model_validate_json(json.dumps(content))
    except (ValidationError, ConfigError) as error:
        why = reason(error) if isinstance(error, ValidationError) else str(error)
        raise PatchError(f"{path} is not a valid description of a patch: {why}") from error


def read_folder(folder: Path, base: Base) -> PatchFiles:
    """Read a patch folder strictly.

    Args:
        folder: An existing local folder.
        base: The base that the patch is for.

    Raises:
        PatchError: With one line on what is wrong and where.
    """
    config, paths = _whole(folder)
    # Before the adapter, so that a foreign patch is called foreign and not inconsistent.
    check_base(config, base, folder)
    files = PatchFiles(config, {}, {})  # filled below
    for channel, spec in config.loras.items():
        description, weights = lora_files(channel)
        expected = lora_config(spec, base.family, config.base.name)
        check_adapter(paths[description], expected)
        tensors = _load(paths[weights])
        check_rank(tensors, spec, str(paths[weights]))
        for key, tensor in tensors.items():
            files.lora[in_channel(channel, key)] = tensor
    if config.parts:
        files.fusion.update(_load(paths[FUSION]))
    _check_stored_type(files, folder)
    return files


def _check_stored_type(files: PatchFiles, folder: Path) -> None:
    """What patch.json says of half precision must be true; fp32, the default, says nothing."""
    word = files.config.dtype
    if word == "fp32":
        return
    # Keys of the two files never meet: those of the adapter begin with peft's own prefix.
    for key, tensor in {**files.fusion, **files.lora}.items():
        if tensor.dtype != _STORED[word]:
            raise PatchError(
                f"{folder / MANIFEST} says that the weights are stored in {word}, but tensor {key} "
                f"is {tensor.dtype}; the patch folder is inconsistent"
            )


def _whole(folder: Path) -> tuple[PatchConfig, dict[str, Path]]:
    """The config, and the weight files by name: all there, and as they were written."""
    config = read_config(folder)
    wanted = weight_files(config)
    # A file that is not listed is never read; one that is listed must be there.
    odd = sorted(config.files.keys() ^ set(wanted))
    if odd:
        raise PatchError(
            f"{folder / MANIFEST} must list exactly the files {', '.join(wanted)}; {odd[0]} is "
            "wrong"
        )
    # All files are found and hashed before any is read.
    paths = {name: inside(folder, name) for name in wanted}
    for name, path in paths.items():
        if sha256_of(path) != config.files[name]:
            raise PatchError(
                f"{folder / name} does not have the hash that patch.json records; the file is "
                "damaged or was changed"
            )
    return config, paths


def check_folder(folder: Path) -> PatchConfig:
    """Find out whether a patch folder is whole and undamaged, without its base.

    Returns:
        Its config.

    Raises:
        PatchError: With one line on what is wrong and where.
    """
    config, _ = _whole(folder)
    read_scores(folder, config)
    return config


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PatchError(f"{path} cannot be read as safetensors: {error}") from error
    _check_values(tensors, str(path))
    return tensors


def _check_values(tensors: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that no trained patch holds: empty, of whole numbers, or not finite."""
    for key, tensor in tensors.items():
        if tensor.numel() == 0:
            raise PatchError(
                f"{where}: tensor {key} is empty; a sharded model must be gathered before it is "
                "saved"
            )
        # Which one is the writer's choice; 8-bit floats come with scales that are not here.
        if tensor.dtype not in _FLOATS:
            raise PatchError(
                f"{where}: tensor {key} holds {tensor.dtype}, not floating-point numbers of 16 "
                "bits or more; save it as bfloat16"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise PatchError(
                f"{where}: tensor {key} holds a NaN or infinite value; the training run diverged"
            )
