"""The model that `ask` and `chat` put questions to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter, Token

from pave.answer.sampling import Sampling
from pave.bases.inputs import FrameWord, frame_choice
from pave.bases.loading import Loading
from pave.errors import ConfigError
from pave.placement import DtypeWord, find_device, running_on
from pave.texts import TextError, parse_json

if TYPE_CHECKING:
    from pave.model import PatchedModel
    from pave.patches.config import BaseId

MOST_TOKENS = 2**20
"""More new tokens are a slip of the finger."""


@contextmanager
def patched_model(
    patch: Sequence[str],
    base: str | None,
    *,
    off: bool,
    same_weights: bool,
    dtype: DtypeWord,
    loading: Loading,
    names: Sequence[str] = (),
) -> Iterator[tuple[PatchedModel, str]]:
    """A base with patches on it, and the base's name, on the device that was asked for.

    Args:
        patch: Folders or Hub ids.
        base: The base; the first patch's when None, `smol` without patches.
        off: Switch the patches off.
        same_weights: Refuse patches of other weights than the base's.
        dtype: Of the base.
        loading: How the base is loaded.
        names: What the patches are called; numbered when not given.
    """
    from pave.bases import load_base
    from pave.model import PatchedModel

    place = find_device(loading.device)
    folders = [_patch(source) for source in patch]  # the folder, and the base that it names
    name, how = "smol", loading.on(place)
    if base is not None:
        name = base
    elif folders:
        known = folders[0][1]  # the first one's
        name = known.name
        how["revision"] = how["revision"] or known.revision
    with running_on(place):
        model = PatchedModel(load_base(name, dtype=dtype, **how))
        names = names or [f"patch{number}" for number in range(len(folders))]
        for called, (folder, _) in zip(names, folders, strict=True):
            model.load_patch(folder, name=called, same_weights=same_weights)
        model.set_patches({} if off else dict.fromkeys(names, 1.0))
        yield model, name


def check_length(sampling: Sampling) -> None:
    """Refuse answers longer than anybody means.

    Raises:
        ConfigError: With the flag and its limits.
    """
    number = sampling.max_new_tokens
    if not 1 <= number <= MOST_TOKENS:
        raise ConfigError(
            f"--max-new-tokens must be at least 1 and at most {MOST_TOKENS:,}, got {number:,}"
        )


def _frames(_: object, tokens: Sequence[Token]) -> FrameWord:
    """What follows `--frames`: as a number alone, cyclopts would round 1.5."""
    word = tokens[0].value
    try:
        return frame_choice(word)
    except ValueError as error:
        raise ValueError(f"{error}, got {word!r}") from error


FrameFlag = Annotated[FrameWord | None, Parameter(converter=_frames)]
"""`--frames N` or `--frames auto`."""


def check_video(video: Path) -> None:
    """Find out about a bad file before a model is loaded: the first frame is decoded."""
    from pave.media import Uniform, read_frames

    read_frames(video, Uniform(1))


def channels_of(given: Sequence[str]) -> dict[str, Any]:
    """Channel -> media, of all that follows `--channel`.

    Raises:
        ConfigError: If a channel is given twice, or one is not written as it must be.
    """
    found: dict[str, Any] = {}
    for words in given:
        name, media = media_of(words)
        if name in found:
            raise ConfigError(
                f"--channel {name} is given twice; several files of one channel are written "
                f"{name}=a,b"
            )
        found[name] = media
    return found


def media_of(words: str) -> tuple[str, Any]:
    """`views=a.mp4,b.mp4` as the channel's name and its media."""
    name, equals, text = words.partition("=")
    if not name or not equals or not text:
        raise ConfigError(
            f"--channel takes NAME=MEDIA such as views=cam1.mp4,cam2.mp4, got {words!r}"
        )
    if text.startswith(("{", "[")):  # as records write media that are more than a path
        try:
            return name, parse_json(text)
        except TextError as error:
            raise ConfigError(f"--channel {name}: {error}") from error
    # A file whose own name holds a comma is one file.
    paths = [text] if Path(text).exists() else text.split(",")
    return name, paths[0] if len(paths) == 1 else paths


def _patch(source: str) -> tuple[Path, BaseId]:
    """A patch's folder, and the base that it names."""
    from pave.patches import read_config
    from pave.patches.remote import locate

    folder = locate(source)
    return folder, read_config(folder).base
