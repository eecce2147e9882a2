"""Messages of a talk, as transformers writes them, checked and put into turns.

[{"role": "user", "content": [{"type": "video", "video": "concert.mp4"},
{"type": "text", "text": "What do you hear?"}]},
{"role": "assistant", "content": "A violin."},
{"role": "user", "content": "How many?"}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from pave.bases.inputs import FrameWord
from pave.data import ClipFeatures
from pave.errors import ConfigError
from pave.media import Frames, as_frames

_VIDEO_KEYS = {"type", "video", "path", "frames", "fps", "times", "channels"}
_IMAGE_KEYS = {"type", "image", "path"}


@dataclass(frozen=True)
class VideoPart:
    """A clip in a message.

    Attributes:
        video: A video file, a folder of frames, or frames; or what was seen of one, which leaves
            nothing to do.
        frames: Frames to sample evenly, or "auto"; None as in `PatchedModel.ask`.
        channels: Channel (or patch name) -> media or tokens, where the video does not hold it.
    """

    video: str | Path | Frames | ClipFeatures
    frames: FrameWord | None = None
    channels: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImagePart:
    """A picture in a message.

    Attributes:
        image: A picture file, or a picture as pillow, numpy or torch hold it.
    """

    image: Any


Part: TypeAlias = str | VideoPart | ImagePart


@dataclass(frozen=True)
class ChatTurn:
    """What a user says, and what was answered.

    Attributes:
        parts: Texts, clips and pictures, in their order.
        answer: None where it is to be generated.
        system: The system message that stands before a talk's first turn; None without one.
    """

    parts: tuple[Part, ...]
    answer: str | None
    system: str | None = None


def turns_of(messages: Sequence[Mapping[str, Any]]) -> list[ChatTurn]:
    """The turns of a talk that waits for an answer.

    Args:
        messages: From the user and the assistant in turn, the user's first and last; a system
            message may stand before them.

    Raises:
        ConfigError: If they are anything else; the message says which one is wrong.

    Example:
        >>> turns_of([{"role": "user", "content": "Hello?"}])[0].parts
        ('Hello?',)
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ConfigError(
            'messages are a list such as [{"role": "user", "content": "What do you hear?"}], got '
            f"{messages!r}"
        )
    turns: list[ChatTurn] = []
    parts: tuple[Part, ...] = ()
    system: str | None = None  # of the turn that comes next
    expected = "user"
    for number, message in enumerate(messages, 1):
        where = f"message {number}"
        role = _role(message, where, expected)
        if role == "system":
            if number > 1:
                raise ConfigError(f"{where}: a system message must be the first one")
            system = _said(message["content"], role, where)
        elif role == "user":
            parts = tuple(_parts(message["content"], where))
            expected = "assistant"
        else:
            turns.append(ChatTurn(parts, _said(message["content"], role, where), system))
            parts, system = (), None
            expected = "user"
    if not parts:
        raise ConfigError(
            "the last message must be the user's, because the answer to it is generated"
        )
    return [*turns, ChatTurn(parts, None, system)]


def _role(message: Any, where: str, wanted: str) -> str:
    """The role, which alternates behind a system message."""
    if not isinstance(message, Mapping) or message.keys() != {"role", "content"}:
        raise ConfigError(f"{where}: must be a mapping with 'role' and 'content'")
    role = message["role"]
    if not isinstance(role, str) or role not in ("system", wanted):
        raise ConfigError(
            f"{where}: user and assistant must take turns, the user first; expected {wanted}, got "
            f"{role!r}"
        )
    return str(role)


def _parts(content: Any, where: str) -> list[Part]:
    """What a user says: a text, or a list of parts with a text among them."""
    if isinstance(content, str):
        return [_text(content, where)]
    if not isinstance(content, list | tuple):
        raise ConfigError(f"{where}: content must be a string or a list of parts, got {content!r}")
    parts: list[Part] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            parts.append(_text(part.get("text"), where))
        elif kind == "video":
            parts.append(_video(part, where))
        elif kind == "image":
            parts.append(_image(part, where))
        else:
            raise ConfigError(
                f"{where}: a part must have the type text, video or image, as in "
                f'{{"type": "video", "video": "a.mp4"}}, got {part!r}'
            )
    if not any(isinstance(part, str) for part in parts):
        raise ConfigError(f"{where}: holds no text; add the question")
    return parts


def _text(text: Any, where: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ConfigError(f"{where}: text must be a non-empty string, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a character
        raise ConfigError(f"{where}: {text!r} cannot be written as UTF-8") from error
    return text


def _said(content: Any, role: str, where: str) -> str:
    """What the system or the assistant said: a text, or a list with one."""
    if isinstance(content, list | tuple) and len(content) == 1:
        part = content[0]
        if isinstance(part, Mapping) and part.get("type") == "text":
            content = part.get("text")
    if not isinstance(content, str):
        raise ConfigError(f"{where}: the {role}'s content must be a string, got {content!r}")
    return content and _text(content, where)  # it may be empty


def _video(part: Mapping[str, Any], where: str) -> VideoPart:
    """A clip: a path, frames, or an array with the times of its frames."""
    video = _medium(part, "video", _VIDEO_KEYS, where)
    when = {"fps": part.get("fps"), "times": part.get("times")}
    if isinstance(video, np.ndarray | Tensor):
        video = as_frames(video, **when)
    elif any(value is not None for value in when.values()):
        raise ConfigError(
            f"{where}: fps and times are for arrays of frames; a file has its own, "
            "so leave them out"
        )
    channels = part.get("channels")
    return VideoPart(video, part.get("frames"), {} if channels is None else channels)


def _image(part: Mapping[str, Any], where: str) -> ImagePart:
    return ImagePart(_medium(part, "image", _IMAGE_KEYS, where))


def _medium(
    part: Mapping[str, Any],
    kind: str,
    known: set[str],
    where: str,
) -> Any:
    """The medium itself, under its own name or transformers' `path`."""
    unknown = sorted(map(str, part.keys() - known))
    if unknown:
        raise ConfigError(
            f"{where}: a part of type {kind} has no field {unknown[0]!r}; it may have "
            f"{', '.join(sorted(known - {'type'}))}"
        )
    media = [part[key] for key in (kind, "path") if part.get(key) is not None]
    if len(media) != 1:
        raise ConfigError(
            f'{where}: a part of type {kind} must name one {kind}, as in {{"type": "{kind}", '
            f'"{kind}": "path"}}'
        )
    return media[0]
