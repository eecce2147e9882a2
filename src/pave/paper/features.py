"""The `official` encoders: the feature files of the authors' public data sets, used as they are.

| channel | their `fast_feat_type` | a file holds |
|---|---|---|
| `audio` | audio | `[T, 1024]`, ImageBind, one window of 2 s a second |
| `frames` | languagebind | `[T, 5, 1024]`, LanguageBind at 2 frames per second |
| `scene3d` | 3d_feature | `[1, 32 * 24 * 24, 1024]`, LLaVA-3D |
| `views` | exo | `[32, 196, 1152]` a camera, SigLIP |

LanguageBind's five tokens are a class token before 2 x 2 cells. Other cameras are a folder with a
file a camera, a list of files, or one file `[cameras, ...]`.

Files are `.pt` (read with `weights_only=True`, wherever and in whatever precision they were saved,
with or without a graph) or `.npy`. Their times are what the authors' extraction scripts imply; the
authors' patches align by number and never read them.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
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
from pave.files import entries_of, regular_file
from pave.tokens import Tokens

_SUFFIXES = (".pt", ".pth", ".npy")
Size = Annotated[int, Field(ge=1)]
FileKind = Literal["audio", "languagebind", "3d_feature", "exo"]
FILE_KINDS: dict[str, FileKind] = {
    "audio": "audio",
    "frames": "languagebind",
    "scene3d": "3d_feature",
    "views": "exo",
}
"""Channel -> what the authors call its files (`fast_feat_type`)."""


def side_from_disk(
    tensor: Tensor,
    kind: FileKind,
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
        return tensor.reshape(-1, 1, shape[-1])  # [T, 1, C]
    if kind == "languagebind" and tensor.dim() == 3:
        if exclude_cls is None:
            exclude_cls = _has_class_token(shape[1])
        return tensor[:, 1:] if exclude_cls else tensor
    if kind == "3d_feature" and tensor.dim() == 3 and shape[0] == 1:
        if shape[1] != math.prod(vhw):
            raise ChannelError(
                f"a 3d_feature of {shape[1]} tokens is not {' x '.join(map(str, vhw))}; pass its "
                "own vhw=(V, H, W)"
            )
        return tensor.view(vhw[0], vhw[1] * vhw[2], shape[2])  # [V, H * W, C]
    if kind == "exo" and tensor.dim() == 4:
        return tensor.transpose(0, 1).flatten(0, 1)  # [T * cameras, S, C]
    raise ChannelError(
        f"no side feature of kind {kind!r} has the shape {shape}; kinds: audio, languagebind, "
        "3d_feature, exo"
    )


def _has_class_token(count: int) -> bool:
    """Whether so many tokens are a square grid behind a class token."""
    cells = count - 1
    return cells > 0 and math.isqrt(cells) ** 2 == cells


class AuthorsSettings(BaseModel):
    """Settings of the authors' feature files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dim: int = Field(1024, ge=1, le=1_000_000, description="C, the number of features per token.")
    vhw: tuple[Size, Size, Size] = Field(
        (32, 24, 24), description="Views, height and width of a scene3d file."
    )


class AuthorsViewsSettings(AuthorsSettings):
    """Settings of the authors' feature files of other cameras."""

    dim: int = Field(1152, ge=1, le=1_000_000, description="C, the number of features per token.")
    random_views: bool = Field(
        False,
        description="In training, use a random part of the cameras each time, as the authors do.",
    )


class AuthorsFeatures:
    """Reads the authors' feature files of one channel; values become float32.

    Args:
        channel: What the features are of.
        settings: Their width.

    Example:
        >>> AuthorsFeatures("audio", AuthorsSettings()).dim
        1024
    """

    name = "official"

    def __init__(self, channel: str, settings: AuthorsSettings) -> None:
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
        """A random number of the cameras in random order, if `random_views` is set."""
        if not getattr(self._set, "random_views", False):
            return tokens
        cameras = int((tokens.times == tokens.times[0]).sum())  # they share the first step's time
        return some_cameras(tokens, cameras, chance)

    def encode(self, source: Source) -> Tokens:
        """Tokens of one file, or of one file a camera.

        Raises:
            ChannelError: If a file is missing, cannot be read, or holds something else than this
                channel's features.
        """
        kind = FILE_KINDS[self.channel]
        paths = _paths(source, self.channel)
        tensors = [_read(path, self.channel) for path in paths]
        try:
            tensor = tensors[0]
            if kind == "exo" and tensor.dim() == 3:  # a file a camera
                tensor = torch.stack(tensors)  # [cameras, T, S, C]
            values = side_from_disk(tensor, kind, vhw=self._set.vhw)
        except (ChannelError, RuntimeError) as error:
            raise ChannelError(f"{paths[0]}: {str(error).splitlines()[0]}") from error
        if values.shape[2] != self.dim:
            raise ChannelError(
                f"{paths[0]}: holds {values.shape[2]} features per token, not {self.dim}; set "
                "`dim` to that number"
            )
        times = _times(kind, steps=len(values), cameras=len(tensor))
        try:
            return Tokens(values.to(torch.float32).contiguous(), times)
        except ChannelError as error:
            raise ChannelError(f"{paths[0]}: {error}") from error


def _times(kind: FileKind, steps: int, cameras: int) -> Tensor:
    """Seconds `[T]` of the steps, as the authors' extraction implies them."""
    numbers = torch.arange(steps, dtype=torch.float64)
    if kind == "audio":
        return numbers + 1  # the middle of the window [i, i + 2)
    if kind == "languagebind":
        return (numbers + 0.5) / 2  # the middle of half a second
    if kind == "exo":
        return (numbers / cameras).floor()  # a step of every camera before the next step
    return numbers  # 3d_feature: a view a step


def _paths(source: Source, channel: str) -> list[Path]:
    """One path, or one a camera for views: those of a folder in the order of their names."""
    several = channel == "views"
    if isinstance(source, str | Path):
        path = Path(source)
        if not several or not os.path.isdir(path):
            return [path]
        found = [file for file in entries_of(path) if file.suffix.lower() in _SUFFIXES]
        if not found:
            raise ChannelError(
                f"{path}: no features in this folder; it should hold one "
                f"{' or '.join(_SUFFIXES)} file per camera"
            )
        return found
    listed = several and isinstance(source, Sequence) and len(source) > 0
    if listed and all(isinstance(path, str | Path) for path in source):
        return [Path(str(path)) for path in source]
    wanted = "one file, or one per camera" if several else "one file"
    raise ChannelError(f"{channel}/official reads {wanted}, got {source!r}")


def _read(path: Path, channel: str) -> Tensor:
    """A file's tensor."""
    if path.suffix.lower() not in _SUFFIXES:
        raise ChannelError(
            f"{path}: {channel}/official reads precomputed .pt or .npy features, not "
            f"'{path.suffix}' files; "
            f"name the feature file as the channel {channel!r}"
        )
    regular_file(path, ChannelError, "a file of features")
    content = load_content(path)
    if isinstance(content, Tensor) and content.is_floating_point():
        return content.detach().cpu()
    what = type(content).__name__
    if isinstance(content, Tensor):
        what = f"a tensor of {content.dtype}"
    raise ChannelError(
        f"{path}: holds {what}, not a tensor of floats; check that it is one of the authors' files"
    )


def _register(channel: str, settings: type[AuthorsSettings]) -> None:
    """Make the reader of one channel's files known."""

    def build(chosen: AuthorsSettings) -> AuthorsFeatures:
        return AuthorsFeatures(channel, chosen)

    register_encoder(channel, AuthorsFeatures.name, settings)(build)


for _channel in FILE_KINDS:
    _register(_channel, AuthorsViewsSettings if _channel == "views" else AuthorsSettings)
