"""The features encoder: precomputed tokens in every format, and clear refusals."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pave.channels import make_encoder
from pave.channels.encoder import Encoder
from pave.errors import ChannelError
from pave.tokens import Tokens

VALUES = torch.arange(24, dtype=torch.float32).view(4, 6)
TIMES = torch.tensor([0.0, 0.5, 0.5, 2.0], dtype=torch.float64)


def encoder(dim: int = 6, **more: float) -> Encoder:
    """A features encoder."""
    return make_encoder("features", "file", {"dim": dim, **more})


def read(path: Path, **more: float) -> Tokens:
    """Tokens that are there."""
    tokens = encoder(**more).encode(path)
    assert tokens is not None
    return tokens


def write(path: Path, values: torch.Tensor, times: torch.Tensor | None) -> None:
    """Tokens in the format that the ending asks for."""
    named = {"values": values} if times is None else {"values": values, "times": times}
    if path.suffix == ".safetensors":
        save_file(named, path)
    elif path.suffix == ".pt":
        torch.save(named, path)
    else:
        np.save(path, values.numpy())
        if times is not None:
            np.save(path.with_name("x.times.npy"), times.numpy())


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt", "x.npy"])
def test_formats(tmp_path: Path, name: str) -> None:
    """The same tokens from every format, with times, without, and as [T, S, C]."""
    write(tmp_path / name, VALUES, None)
    plain = read(tmp_path / name, rate=2.0)
    assert torch.equal(plain.values, VALUES[:, None]) and plain.times.tolist() == [
        0.25,
        0.75,
        1.25,
        1.75,
    ]
    write(tmp_path / name, VALUES.view(4, 2, 3), TIMES)
    timed = read(tmp_path / name, dim=3)
    assert torch.equal(timed.values, VALUES.view(4, 2, 3)) and torch.equal(timed.times, TIMES)


def test_bare_tensor_and_sidecar(tmp_path: Path) -> None:
    """A .pt may hold just a tensor; a times file beside it counts."""
    torch.save(VALUES, tmp_path / "bare.pt")
    assert read(tmp_path / "bare.pt").times.tolist() == [0.5, 1.5, 2.5, 3.5]
    np.save(tmp_path / "bare.times.npy", TIMES.numpy())
    assert torch.equal(read(tmp_path / "bare.pt").times, TIMES)


@settings(max_examples=20, deadline=None)
@given(
    steps=st.integers(0, 5),
    tokens=st.integers(1, 4),
    dim=st.integers(1, 8),
    dtype=st.sampled_from(["f16", "bf16", "f32", "f64", "i32"]),
)
def test_shapes_and_types(
    tmp_path_factory: pytest.TempPathFactory, steps: int, tokens: int, dim: int, dtype: str
) -> None:
    """Any shape, also no steps at all; any number type becomes float32."""
    kinds = {
        "f16": torch.float16,
        "bf16": torch.bfloat16,
        "f32": torch.float32,
        "f64": torch.float64,
        "i32": torch.int32,
    }
    path = tmp_path_factory.mktemp("features") / "x.safetensors"
    values = torch.randn(steps, tokens, dim).mul(10).to(kinds[dtype])
    save_file({"values": values}, path)
    got = read(path, dim=dim)
    assert got.values.dtype == torch.float32 and torch.equal(got.values, values.float())


def test_settings_rebuild_the_encoder() -> None:
    """What a patch file keeps is enough."""
    first = encoder(rate=4.0)
    again = make_encoder(first.channel, first.name, first.settings)
    assert again.settings == first.settings == {"dim": 6, "rate": 4.0}


class Evil:
    """Would make a file if unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        """What pickle would call."""
        return (Path.touch, (self.path,))


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that hold no tokens of six features, with what must be said."""
    cases = {
        "missing.npy": "no such file",
        "x.csv": "unknown kind",
        "text.safetensors": "cannot be read",
        "text.npy": "cannot be read",
        "text.pt": "cannot be read",
        "evil.pt": "cannot be read",
        "evil.npy": "cannot be read",
        "cut.safetensors": "cannot be read",
        "other.safetensors": "no tensor named 'values'",
        "list.pt": "no tensor named 'values'",
        "wide.npy": "got",
        "flat.npy": "got",
        "nan.npy": "NaN",
        "times.safetensors": "times",
        "complex.npy": "real numbers",
    }
    for name in ("x.csv", "text.safetensors", "text.npy", "text.pt"):
        (folder / name).write_text("not tokens at all, just words\n" * 9)
    with (folder / "evil.pt").open("wb") as stream:
        pickle.dump({"values": Evil(folder / "touched")}, stream)
    np.save(folder / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    save_file({"values": VALUES}, folder / "cut.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:-5])
    save_file({"features": VALUES}, folder / "other.safetensors")
    torch.save([1, 2, 3], folder / "list.pt")
    np.save(folder / "wide.npy", np.zeros((4, 7), np.float32))
    np.save(folder / "flat.npy", np.zeros(6, np.float32))
    np.save(folder / "nan.npy", np.full((4, 6), np.nan, np.float32))
    save_file({"values": VALUES, "times": torch.zeros(3)}, folder / "times.safetensors")
    np.save(folder / "complex.npy", np.zeros((4, 6), np.complex64))
    return {name: (folder / name, message) for name, message in cases.items()}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_garbage(tmp_path: Path) -> None:
    """Every kind of wrong file: one `ChannelError`, one line, its name; no code in it runs."""
    for name, (path, message) in broken(tmp_path).items():
        with pytest.raises(ChannelError, match=message) as caught:
            encoder().encode(path)
        assert "\n" not in str(caught.value) and name in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_dim_is_needed() -> None:
    """A fusion is built before the first file is read."""
    with pytest.raises(ChannelError, match="'dim' is missing"):
        make_encoder("features", "file")
