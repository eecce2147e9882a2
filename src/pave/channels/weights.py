"""Reading an encoder's weights from a local file: by the authors' names, strictly.

No code in such a file ever runs.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from pave import hf_compat
from pave.channels.plain import NotPlainError, read_plain
from pave.errors import ChannelError
from pave.files import entries_of, regular_file
from pave.placement import chosen_device
from pave.texts import counted, read_object

FOLDER = "PAVE_WEIGHTS"
"""Environment variable: a folder of weight files, found by name, so that no patch holds a path."""

_SAMPLES = 256  # values of each tensor that a digest reads


def find_weights(name: str, encoder: str, source: str) -> Path:
    """A weight file or folder: as a path, or by name in the folder that `PAVE_WEIGHTS` names.

    Args:
        name: Path or file name.
        encoder: Who asks, for the message.
        source: Where the weights can be had, for the message.

    Raises:
        ChannelError: If it is in neither place.
    """
    for path in (Path(name), Path(os.environ.get(FOLDER, ".")) / name):
        if os.path.exists(path):
            return path
    raise ChannelError(
        f"{encoder} needs its weights, but {name!r} does not exist; download them ({source}) and "
        f"set `weights` to the file, or set {FOLDER} to the folder that holds it"
    )


def read_weights(path: Path, prefixes: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under one of some prefixes, which is taken off.

    Args:
        path: A `.safetensors`, `.bin`, `.pt` or `.pth` file (those with `weights_only=True`), or a
            folder of such shards.
        prefixes: Wanted prefixes; the first that has any tensor counts. "" takes everything.

    Raises:
        ChannelError: If a file cannot be read, or nothing in it has such a name.
    """
    wanted = tuple(prefixes)
    files = [path]
    if path.is_dir():
        files = sorted([*entries_of(path, "*.safetensors"), *entries_of(path, "*.bin")])
        _must_have_shards(path, set(files))
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= _load(file, wanted)
    for prefix in wanted:
        matching = [key for key in tensors if key.startswith(prefix)]
        if matching:
            return {key.removeprefix(prefix): tensors[key] for key in matching}
    raise ChannelError(
        f"{path}: holds no tensor named {' or '.join(wanted)}...; give the checkpoint of this "
        "encoder"
    )


def _must_have_shards(folder: Path, files: Collection[Path]) -> None:
    """Refuse a folder without a shard that its index names."""
    for index in entries_of(folder, "*.index.json"):
        content = read_object(index, ChannelError, "download it again")
        shards = content.get("weight_map")
        if not isinstance(shards, dict):
            continue
        for name in shards.values():  # one for each tensor
            if folder / str(name) not in files:
                raise ChannelError(
                    f"{folder}: lacks {name}, which {index.name} lists; download it again"
                )


def _load(file: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """The wanted tensors of one file; others, perhaps a whole language model, are not read."""
    regular_file(file, ChannelError, "a file of weights")
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as shard:
                keys = shard.keys()  # an open safetensors file itself cannot be iterated over
                names = [key for key in keys if key.startswith(prefixes)]
                return {name: shard.get_tensor(name) for name in names}
        # Mapped, so that what nobody wants of a large file stays on disk.
        content = read_plain(file, mapped=True)
    except (SafetensorError, OSError, NotPlainError) as error:
        what = f"{file}: cannot be read as weights ({error})"
        raise ChannelError(
            f"{what}; download it again, or save only its state dict, as plain tensors"
        ) from error
    if not isinstance(content, dict):
        raise ChannelError(
            f"{file}: holds {type(content).__name__}, not a state dict of named tensors; save "
            "model.state_dict()"
        )
    return {
        key: value
        for key, value in content.items()
        if isinstance(value, Tensor) and str(key).startswith(prefixes)
    }


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put tensors into a module that must have exactly these names and shapes.

    The module is then frozen and in eval mode.

    Raises:
        ChannelError: If a name is missing or unexpected, or a shape differs.
    """
    own = module.state_dict()
    missing = sorted(own.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - own.keys())
    # One name stands for all in the message: they tend to be hundreds.
    for what, names in (("lacks", missing), ("has an unexpected", unexpected)):
        if names:
            raise ChannelError(
                f"{where}: {what} {names[0]} ({counted(len(names), 'such name')}); it belongs to "
                "another model"
            )
    for key, tensor in own.items():
        if tensor.shape != tensors[key].shape:
            have, want = tuple(tensors[key].shape), tuple(tensor.shape)
            raise ChannelError(
                f"{where}: {key} has shape {have} instead of {want}; it belongs to another model"
            )
    module.load_state_dict(dict(tensors))
    module.eval().requires_grad_(False)


def must_have_blocks(found: int, width: int, released: Mapping[int, int], where: str) -> None:
    """Refuse a file that lacks whole blocks at the end of a released network.

    Their number is read from the names of the tensors, so that nothing else would miss them: the
    answer of a shorter network is another one.

    Args:
        found: Blocks that the file holds.
        width: Of the network.
        released: Width -> blocks of the networks that are known; others may have any number.
        where: The file, for the message.

    Raises:
        ChannelError: If there are fewer or more blocks than the network of this width has.
    """
    wanted = released.get(width, found)
    if found != wanted:
        raise ChannelError(
            f"{where}: holds {found} of the {wanted} blocks of this network; download it again"
        )


def weights_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A digest of weights: names, shapes, types and up to 256 evenly spread values of each tensor.

    That tells any two trained models apart at no cost, wherever their files lie.

    Args:
        tensors: Names and tensors, in any order.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(_plain(tensors), key=itemgetter(0)):
        flat = tensor.detach().reshape(-1)
        step = max(1, flat.numel() // _SAMPLES)
        sample = flat[::step].float().cpu().contiguous()  # float32: numpy knows no bfloat16
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()


def _plain(tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """The tensors; in place of one that wraps others, those and what it says of them."""
    for name, tensor in tensors:
        if hf_compat.is_plain(tensor):
            yield name, tensor
            continue
        outer: Any = tensor.data
        parts, settings = outer.__tensor_flatten__()
        yield f"{name} {settings}", torch.empty(0)
        for part in parts:  # which may wrap others again
            yield from _plain([(f"{name}.{part}", getattr(outer, part))])


def best_device() -> torch.device:
    """Where an encoder's own network runs: as the verb at work was told, else the best there is."""
    return chosen_device()


def device_of(network: nn.Module) -> torch.device:
    """Where a network lies, and so where its inputs have to go."""
    return next(network.parameters()).device


def check_places(settings: Mapping[str, Any], patch: str) -> None:
    """A patch may name weights, but not lead to any file of this machine.

    Names are looked up in the folder of `PAVE_WEIGHTS`; a path must lie below it. Hub ids pass.

    Args:
        settings: The encoder's settings in the patch.
        patch: The patch, for the message.

    Raises:
        ChannelError: If a setting is a path to elsewhere.
    """
    allowed = os.environ.get(FOLDER)
    # Encoders of packages take settings of any shape.
    for name, value in settings.items():
        for text in filter(_is_path, _texts(value)):
            # Links are followed: what counts is where it leads.
            place = Path(text).resolve()
            if allowed is None or not place.is_relative_to(Path(allowed).resolve()):
                raise ChannelError(
                    f"patch '{patch}': its encoder's {name} is the path {text!r}; if you trust "
                    f"the patch to read there, set {FOLDER} to a folder that contains it"
                )


def _texts(value: Any) -> Iterator[str]:
    """All texts in a setting, however deep in lists and objects they are."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _is_path(text: str) -> bool:
    """Whether a setting is a place on this machine; a Hub id is one only where it exists here."""
    path = Path(text)
    if path.is_absolute() or ".." in path.parts:
        return True
    return len(path.parts) > 1 and os.path.exists(text)
