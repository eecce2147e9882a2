"""`Record`: one training or test example, the paths in it, and the clip it is about."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pave.arguments import as_kind
from pave.errors import RecordError
from pave.media.archive import archive_of

JSON: TypeAlias = None | bool | int | float | str | list["JSON"] | dict[str, "JSON"]
# What `meta.needs` said before it became `meta.channel`, where the word itself changed too.
_OLD_CHANNELS = {"sound": "audio", "visual": "video"}


class Turn(BaseModel):
    """One question and, where it is known, its answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(description="The question, without a prompt template around it.")
    answer: str | None = Field(
        default=None, description="The answer to learn; null for a question without a known answer."
    )


class Record(BaseModel):
    """One example: a clip, its side channels, and a dialogue about it.

    Example:
        >>> turn = Turn(question="What sounds?", answer="a dog")
        >>> Record(id="a1", video="a.mp4", turns=[turn]).turns[0].answer
        'a dog'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1, description="Unique name of the record within its file.")
    video: str = Field(min_length=1, description="A video file, or a folder of frames.")
    channels: dict[str, Any] = Field(
        default_factory=dict,
        description="Channel name -> media: a path, a list of paths, or an object of them.",
    )
    turns: list[Turn] = Field(
        min_length=1, description="Questions and answers in the order they are asked."
    )
    answers: list[str] = Field(
        default_factory=list, description="Accepted answers to the last question, for scoring."
    )
    options: list[str] = Field(
        default_factory=list, description="The choices of a multiple-choice question."
    )
    meta: dict[str, Any] = Field(
        default_factory=dict,
        description="Anything else, for example the `family` of the question, and the `channel` "
        "that it needs.",
    )

    @field_validator("channels")
    @classmethod
    def _media(cls, channels: dict[str, Any]) -> dict[str, Any]:
        """A missing channel is left out of the record; there is no other way to say it."""
        for name, media in channels.items():
            if not _is_media(media):
                raise ValueError(
                    f"{name} must be a path, a list of paths or an object, got {media!r}; leave "
                    "out what is missing"
                )
        return channels

    @field_validator("meta")
    @classmethod
    def _old_meta(cls, meta: dict[str, Any]) -> dict[str, Any]:
        """Records written before `meta.needs` became `meta.channel` are read as if written now."""
        needs = meta.get("needs")
        if "channel" in meta or not isinstance(needs, str):
            return meta
        meta = dict(meta)
        del meta["needs"]
        meta["channel"] = _OLD_CHANNELS.get(needs, needs)
        return meta


def media_of(records: Iterable[Record]) -> list[str]:
    """Every path that some record names, each once, in order."""
    paths: dict[str, None] = {}

    def note(text: str) -> str:
        paths.setdefault(text)
        return text

    def inside(text: str) -> str:
        # Within an object, paths have become absolute; what has not is a plain setting.
        return note(text) if os.path.isabs(archive_of(text)) else text

    for record in records:
        _must_be_record(record)
        map_paths(record, note, inside)
    return list(paths)


def clip_key(record: Record) -> str:
    """A text that is equal for two records exactly when they share the video and all channels."""
    _must_be_record(record)
    return json.dumps([record.video, record.channels], sort_keys=True, ensure_ascii=False)


def _must_be_record(given: object) -> None:
    as_kind(given, Record, "records are a list of pave.Record", RecordError)


def _is_media(media: object) -> bool:
    """Whether something can be a channel's media."""
    if isinstance(media, list):
        return bool(media) and all(path and isinstance(path, str) for path in media)
    return isinstance(media, (str, dict)) and bool(media)


def map_paths(record: Record, change: Callable[[str], str], inside: Callable[[str], str]) -> Record:
    """The record with `change` applied to its paths, and `inside` to texts within objects."""
    channels = {name: _walk(media, change, inside) for name, media in record.channels.items()}
    return record.model_copy(update={"video": change(record.video), "channels": channels})


def _walk(media: JSON, change: Callable[[str], str], inside: Callable[[str], str]) -> JSON:
    """The media with its texts changed; keys, numbers and the like stay."""
    if isinstance(media, str):
        return change(media)
    if isinstance(media, list):
        return [_walk(item, change, inside) for item in media]
    if isinstance(media, dict):
        return {key: _walk(item, inside, inside) for key, item in media.items()}
    return media
