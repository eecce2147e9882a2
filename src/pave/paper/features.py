"""The `official` encoders: the feature files of the authors' public data sets, used as they are.

| channel | their `fast_feat_type` | a file holds |
|---|---|---|
| `audio` | audio | `[T, 1024]`, ImageBind, one window of 2 s a second |
| `frames` | languagebind | `[T, 5, 1024]`, LanguageBind at 2 frames per second, a class token before 2 x 2 cells |
| `scene3d` | 3d_feature | `[1, 32 * 24 * 24, 1024]`, LLaVA-3D |
| `views` | exo | `[32, 196, 1152]` a camera, SigLIP; a folder with a file a camera, a list of files, or one `[cameras, ...]` |

Files are `.pt` (read with `weights_only=True`, wherever and in whatever precision they were saved,
with or without a graph) or `.npy`. Their times are what the authors' extraction scripts imply; the
authors' patches align by number and never read them.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pave.cache import Source
from pave.channels.features import load_content
from pave.channels.registry import register_encoder
from pave.channels.vary import some_cameras
from pave.errors import ChannelError
from pave.tokens import Tokens

_SUFFIXES = (".pt", ".pth", ".npy")
Size = Annotated[int, Field(ge=1)]
Kind = Literal["audio", "languagebind", "3d_feature", "exo"]
KINDS: dict[str, Kind] = {
    "audio": "audio",
    "frames": "languagebind",
    "scene3d": "3d_feature",
    "views": "exo",
}
"""Channel -> what the authors call its files."""


def side_from_disk(
    tensor: Tensor,
    kind: Kind,
    *,
    exclude_cls: bool | None = None,
    vhw: tuple[int, int, int] = (32, 24, 24),
) -> Tensor:
    """Side tokens `[T, S, C]` from a feature file of the authors' data sets.

    Args:
        tensor: What the file holds: for "audio" `[T, C]`, or `[W, N, C]` whose W windows of N
            tokens follow one another in time (`[W * N, 1, C]` results); for "languagebind" `[T, S,
            C]` with or without a class token before the square grid; for "3d_feature" `[1, V * H *
            W, C]`; for "exo" `[cameras, T, S, C]` (step t of all cameras comes before step t + 1).
        kind: The authors' `fast_feat_type`.
        exclude_cls: Drop the class token of "languagebind"; None: drop it if what remains is a
            square grid.
        vhw: Views, height and width of "3d_feature".

    Raises:
        ChannelError: If the shape does not fit the kind.
    """
    shape = list(tensor.shape)
    tensor = tensor.detach()
    if kind == "audio" and tensor.dim() in (2, 3):
        return tensor.reshape(-1, 1, shape[-1])
    if kind == "languagebind" and tensor.dim() == 3:
        drop = (
            shape[1] > 1 and math.isqrt(shape[1] - 1) ** 2 == shape[1] - 1
            if exclude_cls is None
            else exclude_cls
        )
        return tensor[:, 1:] if drop else tensor
    if kind == "3d_feature" and tensor.dim() == 3 and shape[0] == 1:
        if shape[1] != math.prod(vhw):
            raise ChannelError(
                f"a 3d_feature of {shape[1]} tokens is not {' x '.join(map(str, vhw))}; pass its "
                "own vhw=(V, H, W)"
            )
        return tensor.view(vhw[0], vhw[1] * vhw[2], shape[2])
    if kind == "exo" and tensor.dim() == 4:
        return tensor.transpose(0, 1).flatten(0, 1)
    raise ChannelError(
        f"no side feature of kind {kind!r} has the shape {shape}; kinds: audio, languagebind, "
        "3d_feature, exo"
    )


class OfficialSettings(BaseModel):
    """Settings of the authors' feature files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(1024, ge=1, le=1_000_000, description="C, the features of one token.")
    vhw: tuple[Size, Size, Size] = Field(
        (32, 24, 24), description="Views, height and width of a scene3d file."
    )


class OfficialViewsSettings(OfficialSettings):
    """Settings of the authors' feature files of other cameras."""

    dim: int = Field(1152, ge=1, le=1_000_000, description="C, the features of one token.")
    random_views: bool = Field(
        False,
        description="In training, use a random part of the cameras each time, as the authors do.",
    )


class OfficialFeatures:
    """Reads the authors' feature files of one channel; values become float32.

    Args:
        channel: The sense that the features are of.
        settings: Their width.

    Example:
        >>> OfficialFeatures("audio", OfficialSettings()).dim
        1024
    """

    name = "official"

    def __init__(self, channel: str, settings: OfficialSettings) -> None:
        self.channel = channel
        self._set = settings

    @property
    def dim(self) -> int:
        """C, as set."""
        return self._set.dim

    @property
    def settings(self) -> dict[str, Any]:
        """All settings as JSON values."""
        return self._set.model_dump(mode="json")

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that shape tokens; all cameras are stored, training draws from them."""
        return self._set.model_dump(mode="json", exclude={"random_views"})

    def vary(self, tokens: Tokens, chance: random.Random) -> Tokens:
        """A random number of the cameras in random order, if `random_views` is set; `chance` decides."""
        if not getattr(self._set, "random_views", False):
            return tokens
        return some_cameras(tokens, int((tokens.times == tokens.times[0]).sum()), chance)

    def encode(self, source: Source) -> Tokens:
        """Tokens of one file, or of one file a camera.

        Raises:
            ChannelError: If a file is missing, cannot be read, or holds something else than this
                channel's features.
        """
        paths = _paths(source, self.channel)
        tensors = [_read(path, self.channel) for path in paths]
        kind = KINDS[self.channel]
        try:
            tensor = torch.stack(tensors) if kind == "exo" and tensors[0].dim() == 3 else tensors[0]
            values = side_from_disk(tensor, kind, vhw=self._set.vhw)
        except (ChannelError, RuntimeError) as error:
            raise ChannelError(f"{paths[0]}: {str(error).splitlines()[0]}") from error
        if values.shape[2] != self.dim:
            raise ChannelError(
                f"{paths[0]}: holds {values.shape[2]} features a token, not {self.dim}; set `dim` "
                "to it"
            )
        try:
            return Tokens(
                values.to(torch.float32).contiguous(), _TIMES[kind](len(values), len(tensor))
            )
        except ChannelError as error:
            raise ChannelError(f"{paths[0]}: {error}") from error


_TIMES: dict[Kind, Callable[[int, int], Tensor]] = {
    "audio": lambda steps, _: (
        torch.arange(steps, dtype=torch.float64) + 1
    ),  # the middle of the window [i, i + 2)
    "languagebind": lambda steps, _: (torch.arange(steps, dtype=torch.float64) + 0.5) / 2,
    "3d_feature": lambda steps, _: torch.arange(steps, dtype=torch.float64),
    "exo": lambda steps, cameras: (torch.arange(steps) // cameras).double(),
}


def _paths(source: Source, channel: str) -> list[Path]:
    """One path, or one a camera for views: those of a folder in the order of their names."""
    if isinstance(source, str | Path):
        path = Path(source)
        if channel != "views" or not os.path.isdir(path):
            return [path]
        if found := sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES):
            return found
        raise ChannelError(
            f"{path}: no features in this folder; it should hold one {' or '.join(_SUFFIXES)} "
            "file a camera"
        )
    if (
        channel == "views"
        and isinstance(source, Sequence)
        and source
        and all(isinstance(s, str | Path) for s in source)
    ):
        return [Path(str(path)) for path in source]
    raise ChannelError(
        f"{channel}/official reads one file{' or one a camera' if channel == 'views' else ''}, "
        f"got {source!r}"
    )


def _read(path: Path, channel: str) -> Tensor:
    """A file's tensor."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ChannelError(
            f"{path}: {channel}/official reads precomputed .pt or .npy features, not "
            f"'{path.suffix}' files; "
            f"name the feature file as the channel {channel!r}"
        )
    if not os.path.isfile(path):
        raise ChannelError(f"{path}: no such features file; check the path")
    content = load_content(path)
    if not isinstance(content, Tensor) or not content.is_floating_point():
        what = (
            f"a tensor of {content.dtype}"
            if isinstance(content, Tensor)
            else type(content).__name__
        )
        raise ChannelError(
            f"{path}: holds {what}, not a tensor of floats; is it one of the authors' files?"
        )
    return content.detach().cpu()


def _register(channel: str) -> None:
    def build(settings: OfficialSettings) -> OfficialFeatures:
        return OfficialFeatures(channel, settings)

    settings = OfficialViewsSettings if channel == "views" else OfficialSettings
    register_encoder(channel, OfficialFeatures.name, settings)(build)


for _channel in KINDS:
    _register(_channel)
