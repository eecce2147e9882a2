"""The `features/file` encoder: tokens that were computed before, with any model, kept in a file.

| file | what it may hold |
|---|---|
| `.safetensors` | a tensor `values`, optionally `times` |
| `.npy` | the values; times beside it in `<name>.times.npy` |
| `.pt`, `.pth` | a tensor, or a dict with `values` and optionally `times` |

No code in a file can run: `.pt` is read with `weights_only=True`.

`values` is `[T, C]` (one token a step) or `[T, S, C]`. `times` is `[T]`, seconds from the clip's
start; a sidecar `<name>.times.npy` works beside every format. Without times step i stands at `(i +
0.5) / rate`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pave.cache import Source
from pave.channels.encoder import one_path
from pave.channels.plain import NotPlainError, read_plain
from pave.channels.registry import register_encoder
from pave.errors import ChannelError
from pave.files import regular_file
from pave.tokens import Tokens

_SUFFIXES = (".safetensors", ".npy", ".pt", ".pth")
# Integers that tokens may be kept in, beside every float; complex numbers and bool are a slip.
_REAL = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


class FeaturesSettings(BaseModel):
    """Settings of the features encoder."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    dim: int = Field(
        ge=1,
        le=1_000_000,
        description="C, the number of features per token; it must be the same in every file.",
    )
    rate: float = Field(
        1.0, ge=1e-6, le=1e6, description="Steps per second of files without times."
    )


@register_encoder("features", "file", FeaturesSettings)
class FeaturesEncoder:
    """Reads precomputed tokens `[T, S, C]`; values become float32.

    Example:
        >>> FeaturesEncoder(FeaturesSettings(dim=1024)).dim
        1024
    """

    channel = "features"
    name = "file"

    def __init__(self, settings: FeaturesSettings) -> None:
        self._set = settings

    @property
    def dim(self) -> int:
        """C, as set."""
        return self._set.dim

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    def encode(self, source: Source) -> Tokens:
        """Tokens of one file.

        Raises:
            ChannelError: If the file is missing, cannot be read, or holds something else than
                tokens of `dim` features.
        """
        path = one_path(source, "features/file")
        values, times = _read(path)
        for name, numbers in (("values", values), ("times", times)):
            if numbers is not None and not (numbers.is_floating_point() or numbers.dtype in _REAL):
                raise ChannelError(f"{path}: {name} must be real numbers, got {numbers.dtype}")
        if values.dim() == 2:
            values = values[:, None]  # [T, C] -> [T, 1, C]
        if values.dim() != 3 or values.shape[2] != self.dim:
            wanted = f"[T, {self.dim}] or [T, S, {self.dim}]"
            raise ChannelError(
                f"{path}: values must be {wanted}, got {tuple(values.shape)}; set `dim` to what "
                "the file holds"
            )
        if times is None:
            # A step stands at its centre.
            times = (torch.arange(len(values), dtype=torch.float64) + 0.5) / self._set.rate
        try:
            return Tokens(values.to(torch.float32).contiguous(), times)
        except ChannelError as error:
            raise ChannelError(f"{path}: {error}") from error


def _read(path: Path) -> tuple[Tensor, Tensor | None]:
    """Values and times (None if there are none) of a file."""
    regular_file(path, ChannelError, "a file of features")
    content = load_content(path)
    values, times = content, None
    found = type(content).__name__  # what the file holds, for the message
    if isinstance(content, dict):
        values, times = content.get("values"), content.get("times")
        found = ", ".join(map(str, content)) or "nothing"
    if not isinstance(times, (Tensor, type(None))):
        raise ChannelError(
            f"{path}: its 'times' must be a tensor, got {type(times).__name__}; save one time "
            "per step"
        )
    if not isinstance(values, Tensor):
        raise ChannelError(
            f"{path}: contains no tensor named 'values' (found: {found}); save your tokens under "
            "that name"
        )
    # Times in the file itself count before those beside it.
    sidecar = path.with_name(f"{path.stem}.times.npy")
    # Whatever else than a file has its name is refused, not passed over.
    if times is None and os.path.lexists(sidecar):
        regular_file(sidecar, ChannelError, "a file of times")
        times = load_content(sidecar)
    return values, times


def load_content(path: Path) -> Any:
    """What a features file holds (see the table above); none of the formats can run code here.

    Raises:
        ChannelError: If it cannot be read, or is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise ChannelError(
            f"{path}: unknown kind of features file {suffix!r}; use .safetensors, .npy or .pt"
        )
    try:
        return read_plain(path)
    except NotPlainError as error:
        raise ChannelError(
            f"{path}: cannot be read as {suffix} tokens ({error}); save it again as plain tensors"
        ) from error
