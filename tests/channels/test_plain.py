"""Files of tensors that others made: each way to be wrong, in a few words.

None of them is an advice to run code in the file.
"""

from __future__ import annotations

import codecs
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pave.channels import make_encoder
from pave.channels.plain import NotPlainError, read_arrays, read_plain
from pave.channels.weights import read_weights
from pave.errors import ChannelError, PatchError
from pave.paper.weights import read_state

VALUES = torch.arange(24.0).view(4, 6)
DAMAGED = "damaged, or another kind of file"


class Recipe:
    """Some object of somebody's program."""


class Calls:
    """What a pickle has called while it is read."""

    def __init__(self, called: Callable[..., object], *given: object) -> None:
        self.called, self.given = called, given

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.called, self.given


def older(content: object) -> Callable[[Path], None]:
    """As torch saved it once."""
    return lambda path: torch.save(content, path, _use_new_zipfile_serialization=False)


DOUBLED = Calls(codecs.encode, Calls(codecs.encode, b"12", "hex"), "hex")


def stored(folder: Path, save: Callable[[Path], None], name: str = "x.pt") -> Path:
    """A file as something saves it."""
    save(folder / name)
    return folder / name


def torch_file(content: object) -> Callable[[Path], None]:
    """As torch saves it."""
    return lambda path: torch.save(content, path)


def raw(content: bytes) -> Callable[[Path], None]:
    """As it is."""
    return lambda path: None if path.write_bytes(content) else None


def cut(path: Path) -> None:
    """The first half of a good file."""
    torch.save(VALUES, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zipped(path: Path) -> None:
    """Arrays in an archive under another name."""
    np.savez(path.with_suffix(".npz"), values=VALUES.numpy())
    path.with_suffix(".npz").rename(path)


FILES: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "empty": ("x.pt", raw(b""), DAMAGED),
    "zeros": ("x.pt", raw(bytes(1000)), DAMAGED),
    "text": ("x.pt", raw(b"not tensors at all\n" * 9), DAMAGED),
    "pops nothing": ("x.pt", raw(b"e" * 40), DAMAGED),
    "asks for nothing": ("x.pt", raw(b"h" * 40), DAMAGED),
    "half a number": ("x.pt", raw(b"G" * 5), DAMAGED),
    "cut": ("x.pt", cut, DAMAGED),
    "pickle": ("x.pt", raw(pickle.dumps([1, 2], protocol=4)), DAMAGED),
    "object": (
        "x.pt",
        torch_file({"values": Recipe()}),
        r"Python objects such as [\w.]+Recipe, not only tensors",
    ),
    "numpy inside": (
        "x.pt",
        torch_file({"values": VALUES.numpy()}),
        "Python objects such as numpy",
    ),
    "sparse": ("x.pt", torch_file({"values": VALUES.to_sparse()}), "'values' as a sparse tensor"),
    "sparse rows": (
        "x.pt",
        lambda path: torch.save(VALUES.to_sparse_csr(), path),
        "a sparse tensor",
    ),
    "no data": ("x.pt", torch_file(VALUES.to("meta")), "meta"),
    "nested": (
        "x.pt",
        lambda path: torch.save(torch.nested.nested_tensor([VALUES, VALUES[:2]]), path),
        "nested",
    ),
    "a kilobyte shown as a gigabyte": (
        "x.pt",
        lambda path: torch.save(torch.zeros(1).expand(1 << 28), path),
        "a repeated .expanded. tensor",
    ),
    "zeros from nowhere": ("x.pt", torch_file([Calls(bytearray, 1 << 40)]), "such as bytearray"),
    "zeros, older": ("x.pt", older({"values": Calls(bytearray, 1 << 40)}), "such as bytearray"),
    "a text that doubles": ("x.pt", torch_file({"values": DOUBLED}), "such as numpy arrays or b"),
    "a tensor from nowhere": (
        "x.pt",
        torch_file({"values": Calls(torch.Tensor, 1 << 27)}),
        "describe tensors of 536,870,912",
    ),
    "archive": ("x.npy", zipped, "npz archive"),
    "junk array": ("x.npy", raw(b"x" * 100), DAMAGED),
    "cut array": ("x.npy", raw(b"\x93NUMPY\x01\x00v\x00"), "EOF"),
    "text array": ("x.npy", lambda path: np.save(path, np.array(["a", "b"])), "numpy.str_"),
    "records": ("x.npy", lambda path: np.save(path, np.zeros(4, [("a", "f4")])), "numpy.void"),
    "objects": (
        "x.npy",
        lambda path: np.save(path, np.array([{}], dtype=object)),
        "Python objects, not numbers",
    ),
    "cut header": ("x.safetensors", raw(b"\xff" * 16), DAMAGED),
}


@pytest.mark.filterwarnings(
    "ignore:Detected pickle protocol", "ignore:Sparse", "ignore:The PyTorch API of nested"
)
@pytest.mark.parametrize("case", FILES)
def test_what_is_wrong(tmp_path: Path, case: str) -> None:
    """One reason for each file, the same for all who read it, without foreign advice."""
    name, save, reason = FILES[case]
    path = stored(tmp_path, save, name)
    readers: list[tuple[Callable[[Path], object], type[Exception]]] = [
        (read_plain, NotPlainError),
        (make_encoder("features", "file", {"dim": 6}).encode, ChannelError),
        (read_state, PatchError),
    ]
    if name.endswith(".pt"):
        readers.append((lambda path: read_weights(path, [""]), ChannelError))
    for read, error in readers:
        with pytest.raises(error, match=reason) as caught:
            read(path)
        text = str(caught.value)
        assert "\n" not in text and not any(
            word in text for word in ("weights_only", "allow_pickle", "trust", "unsafe")
        )


def test_an_archive_that_unfolds_to_far_more(tmp_path: Path) -> None:
    """Zeros deflate to a thousandth; what measures something does not."""
    file = tmp_path / "x.npz"
    np.savez_compressed(file, values=np.zeros(1 << 26, np.float64))
    with pytest.raises(NotPlainError, match=r"its [\d,]+ bytes unpack to 536,[\d,]+;"):
        read_arrays(file, ["values"], [])
    np.savez(file, values=np.zeros(1 << 10))
    assert read_arrays(file, ["values"], [])["values"].shape == (1 << 10,)


def test_the_older_format_of_torch(tmp_path: Path) -> None:
    """It cannot stay on disk, and is read all the same."""
    torch.save({"a.weight": VALUES}, tmp_path / "x.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_weights(tmp_path / "x.pth", ["a."])["weight"], VALUES)


def test_times_must_be_real_tensors(tmp_path: Path) -> None:
    """The message speaks of the times, not of the values."""
    encoder = make_encoder("features", "file", {"dim": 6})
    torch.save({"values": VALUES, "times": "now"}, tmp_path / "x.pt")
    with pytest.raises(ChannelError, match="'times' must be a tensor, got str"):
        encoder.encode(tmp_path / "x.pt")
    save_file(
        {"values": VALUES, "times": torch.zeros(4, dtype=torch.complex64)},
        tmp_path / "x.safetensors",
    )
    with pytest.raises(ChannelError, match="times must be real numbers"):
        encoder.encode(tmp_path / "x.safetensors")


def test_a_state_dict_has_names(tmp_path: Path) -> None:
    """Numbers as keys would fit no prefix."""
    torch.save({1: VALUES}, tmp_path / "x.bin")
    with pytest.raises(PatchError, match="names that are not strings"):
        read_state(tmp_path / "x.bin")


def test_arrays_that_nobody_asked_for(tmp_path: Path) -> None:
    """They may be anything, and stay unread."""
    np.savez(
        tmp_path / "x.npz",
        a=np.zeros(3),
        notes=np.array(["x"]),
        objects=np.array([{}], dtype=object),
    )
    assert list(read_arrays(tmp_path / "x.npz", ["a"], ["b"])) == ["a"]
    with pytest.raises(NotPlainError, match="lacks c; it has: a, notes, objects"):
        read_arrays(tmp_path / "x.npz", ["c"], [])
