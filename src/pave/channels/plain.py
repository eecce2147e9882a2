"""Reading tensors and arrays from files that somebody else made, and no code in them runs.

torch and numpy answer a bad file with any of a dozen exceptions, and with the advice to read it
again in a way that would run the code in it. That advice never reaches a user of pave: the readers
here raise one exception, whose text callers put into their own message.
"""

from __future__ import annotations

import mmap
import re
import zipfile
from collections.abc import Collection, Iterable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# What torch and numpy say -> what it means for the file. The first that is found counts.
_DAMAGED = "it is damaged, or another kind of file"
_MEANINGS = (
    (r"GLOBAL ([\w.]{1,80})", r"it holds Python objects such as \1, not only tensors"),
    (r"Object arrays cannot be loaded", "it holds Python objects, not numbers"),
    (r"TorchScript", "it is a TorchScript program, not tensors"),
    (r"NpzFile", "it is an .npz archive of several arrays"),
    (r"weights_only|Weights only|allow_pickle|[Mm]agic", _DAMAGED),
    (r"PytorchStreamReader|enforce fail|hasRecord", _DAMAGED),
    (r"codec can't|header:|on line \d", _DAMAGED),
)
# Errors whose text says something about the file; that of the others is about the reader's insides
# ("pop from empty list").
_TELLING = (
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    UnpicklingError,
    ValueError,
)
_LONGEST = 120
# What torch lets a file call to make memory that it does not hold: zeros of any number, or a text
# that doubles with each encoding.
_MAKERS = {
    b"bytearray\n": "bytearray",
    b"_codecs\nencode\n": "numpy arrays or bytes",
}
_LARGE = 2**28  # bytes; less is no harm, however it is folded
_MOST_FOLDED = 100  # real arrays are compressed to a tenth; silence and empty depth to a hundredth


class NotPlainError(Exception):
    """Why a file cannot be read as plain tensors or arrays, in a few words."""


def read_plain(file: Path, *, mapped: bool = False) -> Any:
    """What a file of tensors holds.

    `.safetensors` and `.npy` are known by their ending, anything else is read as torch saves it.

    Args:
        file: The file.
        mapped: Leave the tensors of a torch file on disk until they are used.

    Returns:
        A tensor, or a mapping or any other plain content; every tensor in it is an ordinary one
        with data.

    Raises:
        NotPlainError: If it cannot be read, holds Python objects, or a tensor of an unusual kind.
    """
    try:
        content = _read(file, mapped)
    except NotPlainError:
        raise
    except Exception as error:
        # A damaged pickle may raise nearly anything; only the file is to blame.
        raise NotPlainError(_meaning(error)) from error
    named = {"": content}
    if isinstance(content, dict):
        named = content
    tensors = []
    for name, value in named.items():
        if not isinstance(value, Tensor):
            continue
        tensors.append(value)
        kind = _odd(value)
        if kind:
            where = f"{name!r} as " if name else ""
            raise NotPlainError(f"it holds {where}a {kind} tensor, not an ordinary one")
    _must_be_stored(tensors, file)
    return content


def read_arrays(
    file: Path, needed: Collection[str], welcome: Collection[str]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of real numbers from an `.npz` file.

    Args:
        file: The file.
        needed: Names of the arrays that must be there.
        welcome: Names of those that may be; whatever else the file holds is left unread.

    Raises:
        NotPlainError: If it cannot be read, lacks an array, or one of them holds anything else.
        FileNotFoundError: If there is no such file.
    """
    try:
        if zipfile.is_zipfile(file):
            _check_unpacked(file)
        with np.load(file, allow_pickle=False) as content:
            there = list(content.files)
            arrays = {name: content[name] for name in there if name in needed or name in welcome}
    except (FileNotFoundError, NotPlainError):
        raise
    except (TypeError, AttributeError) as error:
        # An .npy under this name gives an array, which is no context manager.
        raise NotPlainError("it is not an .npz archive") from error
    except Exception as error:
        # Zip, zlib and numpy each have errors of their own for a damaged archive.
        raise NotPlainError(_meaning(error)) from error
    if missing := [name for name in needed if name not in arrays]:
        raise NotPlainError(f"it lacks {', '.join(missing)}; it has: {', '.join(there) or 'none'}")
    for name, array in arrays.items():
        # Other files of a zip come as bytes. Kinds: bool, signed, unsigned, float.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            raise NotPlainError(f"{name!r} in it is not an array of real numbers")
    return arrays


def _read(file: Path, mapped: bool) -> Any:
    """The content as the library gives it."""
    if file.suffix.lower() == ".safetensors":
        return load_file(file)
    if file.suffix.lower() == ".npy":
        return torch.from_numpy(np.load(file, allow_pickle=False))
    is_zip = zipfile.is_zipfile(file)
    if is_zip:
        _check_unpacked(file)
    _must_call_no_maker(file, is_zip)
    # Only the newer of torch's two formats, a zip, can stay on disk.
    return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped and is_zip)


def _odd(tensor: Tensor) -> str:
    """What keeps a tensor from being an ordinary one; nothing for most."""
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized:
        return "quantized"
    if tensor.device.type == "meta":
        return "meta (empty)"
    # A kilobyte can be shown as a terabyte by strides of zero, and becomes one when it is used.
    shown, stored = tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes()
    if _is_bomb(shown, stored):
        return "repeated (expanded)"
    return ""


def _check_unpacked(file: Path) -> None:
    """Refuse an archive that unfolds to far more than it takes, before it does.

    Raises:
        NotPlainError: If it does.
    """
    with zipfile.ZipFile(file) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    packed = file.stat().st_size
    if _is_bomb(unpacked, packed):
        raise NotPlainError(
            f"its {packed:,} bytes unpack to {unpacked:,}; save it without compression if that is "
            "meant"
        )


def _must_call_no_maker(file: Path, is_zip: bool) -> None:
    """Refuse a torch file that would make memory while it is read.

    Raises:
        NotPlainError: If it names one of `_MAKERS`.
    """
    if not file.stat().st_size:  # which cannot be mapped, and torch has words for
        return
    if is_zip:
        # All that is called stands in the archive's one pickle.
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    _must_name_no_maker(archive.read(name))
        return
    # In the older format it stands anywhere between the numbers.
    with (
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        _must_name_no_maker(content)


def _must_name_no_maker(pickled: bytes | mmap.mmap) -> None:
    for maker, kind in _MAKERS.items():
        if pickled.find(maker) >= 0:
            raise NotPlainError(f"it holds Python objects such as {kind}, not only tensors")


def _must_be_stored(tensors: Iterable[Tensor], file: Path) -> None:
    """Refuse tensors that a file describes and does not hold.

    Raises:
        NotPlainError: If they are far larger than the file.
    """
    # Tied weights share their numbers.
    sizes: dict[int, int] = {}  # bytes
    for tensor in tensors:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    stored = sum(sizes.values())
    packed = file.stat().st_size
    if _is_bomb(stored, packed):
        raise NotPlainError(f"its {packed:,} bytes describe tensors of {stored:,}")


def _is_bomb(unpacked: int, packed: int) -> bool:
    """Whether content is large, and larger than real measurements ever are for their file."""
    return unpacked > _LARGE and unpacked > _MOST_FOLDED * packed


def _meaning(error: Exception) -> str:
    """An error's text without advice, addresses and everything else that does not help."""
    text = str(error).strip()
    if not text or not isinstance(error, _TELLING):
        return _DAMAGED
    for pattern, meaning in _MEANINGS:
        if found := re.search(pattern, text):
            return found.expand(meaning)
    first = re.split(r"\.\s|\n", text, maxsplit=1)[0]  # what follows a sentence is advice
    # A damaged file's bytes may be quoted in it; a terminal must not be given them as they are.
    printable = "".join(letter if letter.isprintable() else "?" for letter in first)
    return printable[:_LONGEST].rstrip(".")
