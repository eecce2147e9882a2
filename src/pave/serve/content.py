"""Messages of a request: OpenAI's parts, put into turns with clips and what belongs to them.

    {"type": "text", "text": "What do you hear?"}
    {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,...", "frames": 8}}
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}
    {"type": "input_audio", "input_audio": {"data": "...", "format": "wav"}}
    {"type": "side", "side": {"channel": "depth", "url": "data:...;base64,..."}}

Sound and sides belong to the clip of their message. Several sides of one channel are one source of
several files, as other cameras are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pave.answer.messages import ChatTurn, ImagePart, VideoPart, turns_of
from pave.bases.inputs import FrameWord, frame_choice
from pave.serve.failures import RequestError
from pave.serve.sources import Source, Sources

AUDIO = "audio"
"""The channel of `input_audio`."""
_FIELDS = {
    "video_url": {"url", "frames"},
    "image_url": {"url", "detail"},
    "input_audio": {"data", "format"},
    "side": {"channel", "url"},
}


@dataclass(eq=False)
class SentClip:
    """A clip of a request with what was sent beside it.

    Attributes:
        video: The film.
        frames: How many frames are looked at; None for as many as the patches were trained on.
        sides: Channel -> files.
    """

    video: Source
    frames: FrameWord | None = None
    sides: dict[str, list[Source]] = field(default_factory=dict)


@dataclass(frozen=True)
class Talk:
    """The messages of a request.

    Attributes:
        turns: As `pave.answer` takes them; the clips hold no frames yet.
        clips: Clip -> its part among the turns.
        pictures: The same for pictures.
    """

    turns: list[ChatTurn]
    clips: list[tuple[SentClip, VideoPart]]
    pictures: list[tuple[Source, ImagePart]]


def talk_of(messages: Sequence[Mapping[str, Any]], sources: Sources, place: Path) -> Talk:
    """The turns of a request, with its media as files.

    Args:
        messages: Of the request.
        sources: Opens addresses.
        place: Folder for files; the caller removes it.

    Raises:
        RequestError: If a part or an address is wrong.
        ConfigError: If the messages are no talk that waits for an answer.
    """
    translated = []
    sent: dict[str, SentClip | Source] = {}  # by the stand-in that the turns hold
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
            translated.append(message)  # a text, or what is refused below
            continue
        where = f"message {number}"
        content = _translated(message["content"], where, sent, sources, place)
        translated.append({**message, "content": content})
    # Its rules of who speaks when, and of texts, are those of `PatchedModel.chat`.
    turns = turns_of(translated)
    clips, pictures = [], []
    for turn in turns:
        for part in turn.parts:
            if isinstance(part, VideoPart):
                clip = sent[str(part.video)]
                assert isinstance(clip, SentClip)
                clips.append((clip, part))
            elif isinstance(part, ImagePart):
                picture = sent[str(part.image)]
                assert isinstance(picture, Source)
                pictures.append((picture, part))
    return Talk(turns, clips, pictures)


def _translated(
    content: Sequence[Any],
    where: str,
    sent: dict[str, SentClip | Source],
    sources: Sources,
    place: Path,
) -> list[dict[str, Any]]:
    """One message's parts as `turns_of` takes them."""
    parts: list[dict[str, Any]] = []
    clips: list[SentClip] = []
    sides: list[tuple[str, Source]] = []  # channel and file, in their order
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            parts.append(dict(part))
            continue
        about = _fields(part, kind, where)
        if kind == "video_url":
            label = f"{where}, video"
            frames = _frames(about.get("frames"), label)
            clip = SentClip(sources.open(about.get("url"), label, place), frames)
            clips.append(clip)
            # A stand-in, by which the clip is found again in the turn.
            key = f"clip {len(sent)}"
            sent[key] = clip
            parts.append({"type": "video", "video": key})
        elif kind == "image_url":
            key = f"picture {len(sent)}"
            sent[key] = sources.open(about.get("url"), f"{where}, picture", place)
            parts.append({"type": "image", "image": key})
        elif kind == "input_audio":
            # Its only address is its content.
            form = f"audio/{about.get('format', 'wav')}"
            label = f"{where}, sound"
            sides.append((AUDIO, sources.written(about.get("data"), form, label, place)))
        else:
            channel = about.get("channel")
            if not isinstance(channel, str) or not channel:
                raise RequestError(f"{where}: a side needs the name of its channel")
            label = f"{where}, side {channel!r}"
            sides.append((channel, sources.open(about.get("url"), label, place)))
    if sides and len(clips) != 1:
        raise RequestError(
            f"{where}: input_audio and side belong to the clip of their message, which needs "
            f"exactly one video_url, got {len(clips)}"
        )
    for channel, source in sides:
        clips[0].sides.setdefault(channel, []).append(source)
    return parts


def _fields(part: Any, kind: Any, where: str) -> Mapping[str, Any]:
    """What a part says of its medium."""
    if kind not in _FIELDS:
        raise RequestError(
            f"{where}: a part must have the type text, {', '.join(_FIELDS)}; got {str(kind)[:40]!r}"
        )
    about = part.get(kind)
    if part.keys() != {"type", kind} or not isinstance(about, Mapping):
        raise RequestError(f'{where}: a part of type {kind} is {{"type": "{kind}", "{kind}": ...}}')
    unknown = sorted(map(str, about.keys() - _FIELDS[kind]))
    if unknown:
        raise RequestError(
            f"{where}: {kind} has no {unknown[0][:40]!r}; it may have "
            f"{', '.join(sorted(_FIELDS[kind]))}"
        )
    # Clients send "auto" by themselves; the base decides what a picture costs.
    if about.get("detail", "auto") != "auto":
        raise RequestError(
            f"{where}: the detail of a picture must be auto, because the base has "
            "only one resolution"
        )
    return about


def _frames(given: Any, label: str) -> FrameWord | None:
    if given is None:
        return None
    try:
        return frame_choice(given)
    except ValueError as error:
        raise RequestError(f"{label}: frames {error}, got {given!r}") from error
