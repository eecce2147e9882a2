"""The patch folder: written atomically, read strictly.

    patch.json            what the patch is (`PatchConfig`), with the sha256 of every weight file
    fusion.safetensors    weights of the fusion function
    lora/                 a standard PEFT adapter (adapter_config.json, adapter_model.safetensors)
    README.md             generated card

Reading trusts nothing: paths must stay in the folder (links may only lead to the blobs of a Hub
cache), hashes must agree, and the tensors must be exactly the expected ones in name, shape and
kind. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from peft import LoraConfig
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pave.errors import ConfigError, PatchError
from pave.files import sync, writing
from pave.patches.config import SCHEMA_VERSION, PatchConfig, reason

MANIFEST = "patch.json"
CARD = "README.md"
FUSION = "fusion.safetensors"
LORA_CONFIG = "lora/adapter_config.json"
LORA = "lora/adapter_model.safetensors"

_MANIFEST_LIMIT = 1 << 22
_NOT_COMPARED = {
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "auto_mapping",
    "task_type",
    "peft_version",
    "runtime_config",
}


@dataclass(frozen=True)
class PatchFiles:
    """A patch as it lies on disk.

    Attributes:
        config: Content of `patch.json`.
        fusion: State dict of the fusion; empty for a LoRA-only patch.
        lora: Adapter tensors by their key in the adapter file; empty for a patch without LoRA.
    """

    config: PatchConfig
    fusion: dict[str, Tensor]
    lora: dict[str, Tensor]


def weight_files(config: PatchConfig) -> list[str]:
    """The weight files that a patch of this config has, by their path in the folder."""
    return [FUSION] * (config.fusion is not None) + [LORA_CONFIG, LORA] * (config.lora is not None)


def write_folder(
    folder: Path, files: PatchFiles, adapter: LoraConfig | None, card: Callable[[PatchConfig], str]
) -> PatchConfig:
    """Write a patch folder so that it is either complete or not there.

    Everything goes to a temporary folder beside the target, is flushed to disk and renamed into
    place; an older patch of the same path is moved aside first and deleted last.

    Args:
        folder: Where to; must not exist, be empty, or hold nothing but an older patch.
        files: What to write; `config.files` is filled in.
        adapter: The peft config of the LoRA, for patches that have one.
        card: Makes the text of README.md.

    Returns:
        The config as written.

    Raises:
        PatchError: If the target holds something else, or cannot be written.
    """
    folder = folder.resolve()
    _check_target(folder)
    for tensors, what in ((files.fusion, FUSION), (files.lora, LORA)):
        _check_values(tensors, what)
    try:
        with writing(folder):
            config = _stage(folder, files, adapter, card)
    except OSError as error:
        raise PatchError(
            f"cannot write the patch to {folder}: {error.strerror or error}"
        ) from error
    return config


def _stage(
    folder: Path, files: PatchFiles, adapter: LoraConfig | None, card: Callable[[PatchConfig], str]
) -> PatchConfig:
    """Write beside the target, then take its place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = folder.parent / f".{folder.name}.{uuid4().hex[:8]}.tmp"
    staging.mkdir()
    try:
        config = _fill(staging, files, adapter, card)
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return config


def _fill(
    folder: Path, files: PatchFiles, adapter: LoraConfig | None, card: Callable[[PatchConfig], str]
) -> PatchConfig:
    if files.config.fusion is not None:
        _save(files.fusion, folder / FUSION)
    if adapter is not None:
        adapter.save_pretrained(str(folder / "lora"))
        _save(files.lora, folder / LORA)
    hashes = {name: _sha256(folder / name) for name in weight_files(files.config)}
    config = files.config.model_copy(update={"files": hashes})
    (folder / CARD).write_text(card(config), encoding="utf-8")
    (folder / MANIFEST).write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in [*folder.rglob("*"), folder]:
        sync(path)
    return config


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    own = {
        key: tensor.detach().to("cpu", copy=True).contiguous() for key, tensor in tensors.items()
    }
    save_file(own, path, metadata={"format": "pt"})


def _swap(staging: Path, folder: Path) -> None:
    """Put `staging` in `folder`'s place; what was there comes back if that fails."""
    old = staging.with_suffix(".old")
    moved = folder.exists()
    if moved:
        folder.rename(old)
    try:
        staging.rename(folder)
    except OSError:
        if moved:
            old.rename(folder)
        raise
    sync(folder.parent)
    if moved:
        shutil.rmtree(old, ignore_errors=True)


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but an older patch."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise PatchError(f"{folder} is a file; name a folder for the patch")
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }
    if found and MANIFEST not in found:
        raise PatchError(f"{folder} holds files but no patch; choose a new or empty folder")
    strange = sorted(found - {MANIFEST, CARD, FUSION, LORA_CONFIG, LORA})
    if strange:
        raise PatchError(
            f"{folder} holds {strange[0]}, which is no part of a patch; move it away or choose "
            "another folder"
        )


def read_config(folder: Path) -> PatchConfig:
    """Read and check `patch.json` alone (for `info` and the like).

    Raises:
        PatchError: If there is none, or it is damaged or of an unknown version.
    """
    if not folder.is_dir():
        raise PatchError(f"there is no patch folder at {folder}")
    path = _inside(folder, MANIFEST)
    try:
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise PatchError(f"{path} is too large for a patch manifest; the folder is damaged")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PatchError(
            f"{path} cannot be read as JSON; the patch folder is damaged ({error})"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise PatchError(
            f"{path} has schema version {version!r}, this pave reads {SCHEMA_VERSION}; update "
            "pave or convert the patch"
        )
    try:
        return PatchConfig.model_validate_json(json.dumps(content))
    except (ValidationError, ConfigError) as error:
        why = reason(error) if isinstance(error, ValidationError) else error
        raise PatchError(f"{path} is no valid patch description: {why}") from error


def read_folder(
    folder: Path, expected_adapter: Callable[[PatchConfig], LoraConfig | None]
) -> PatchFiles:
    """Read a patch folder strictly.

    Args:
        folder: An existing local folder.
        expected_adapter: `(config) -> peft config` that the adapter must agree with; may refuse the
            config.

    Raises:
        PatchError: With one line on what is wrong and where.
    """
    config = read_config(folder)
    wanted = weight_files(config)
    if set(config.files) != set(wanted):
        odd = sorted(set(config.files) ^ set(wanted))[0]
        raise PatchError(
            f"{folder / MANIFEST} must list exactly the files {', '.join(wanted)}; {odd} is wrong"
        )
    paths = {name: _inside(folder, name) for name in wanted}
    for name, path in paths.items():
        if _sha256(path) != config.files[name]:
            raise PatchError(
                f"{folder / name} does not have the hash that patch.json records; the file is "
                "damaged or was changed"
            )
    adapter = expected_adapter(config)
    if adapter is not None:
        _check_adapter(paths[LORA_CONFIG], adapter)
    return PatchFiles(
        config,
        _load(paths[FUSION]) if FUSION in paths else {},
        _load(paths[LORA]) if LORA in paths else {},
    )


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, if it is one and no link leads out.

    A Hub cache keeps its files as links `snapshots/<revision>/x -> blobs/y`; there the links may
    lead to the blobs.
    """
    root = folder.resolve()
    is_cache = root.parent.name == "snapshots" and (root.parent.parent / "blobs").is_dir()
    allowed = [root, root.parent.parent / "blobs"] if is_cache else [root]
    try:
        path = (root / name).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise PatchError(f"{folder / name} is missing; the patch folder is incomplete") from error
    if not any(path.is_relative_to(place) for place in allowed):
        raise PatchError(f"{folder / name} leads out of the patch folder; refusing to read it")
    if not path.is_file():
        raise PatchError(f"{folder / name} is not a file; the patch folder is damaged")
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _load(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PatchError(f"{path} is no readable safetensors file: {error}") from error
    _check_values(tensors, str(path))
    return tensors


def _check_values(tensors: Mapping[str, Tensor], where: str) -> None:
    for key, tensor in tensors.items():
        if tensor.numel() == 0:
            raise PatchError(
                f"{where}: tensor {key} is empty; a sharded model must be gathered before it is "
                "saved"
            )
        if not tensor.is_floating_point():
            raise PatchError(
                f"{where}: tensor {key} holds {tensor.dtype}, not floating-point numbers"
            )
        if not bool(torch.isfinite(tensor).all()):
            raise PatchError(
                f"{where}: tensor {key} holds a NaN or infinite value; the training run diverged"
            )


def _check_adapter(path: Path, expected: LoraConfig) -> None:
    """The adapter's own config must say what patch.json says, or plain peft would load another LoRA than pave does."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PatchError(f"{path} cannot be read as JSON; the patch folder is damaged") from error
    wanted: dict[str, Any] = json.loads(json.dumps(expected.to_dict(), default=list))
    if not isinstance(found, dict) or found.get("peft_type") != "LORA":
        raise PatchError(f"{path} describes no LoRA adapter")
    for key in sorted(set(wanted) & set(found) - _NOT_COMPARED):
        if found[key] != wanted[key]:
            raise PatchError(
                f"{path} says {key}={found[key]!r} but patch.json means {wanted[key]!r}; the "
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
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise PatchError(
            f"{what}: tensor {missing[0]} is missing ({len(missing)} in all); the file is "
            "incomplete"
        )
    if extra:
        raise PatchError(
            f"{what}: tensor {extra[0]} is unexpected ({len(extra)} in all); it belongs to "
            "another patch or version"
        )
    for key, tensor in expected.items():
        if tensor.shape != found[key].shape:
            raise PatchError(
                f"{what}: tensor {key} has shape {tuple(found[key].shape)}, expected "
                f"{tuple(tensor.shape)}"
            )
