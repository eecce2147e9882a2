"""Where an example's video and channels lie: looked up below the media folder and the folders of features, with an account."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.channels import describe_encoders
from pave.data import Record, Turn
from pave.errors import ConfigError, RecordError, first_problem
from pave.tasks.task import Example, Style, Task

Place = str | os.PathLike[str]


class Finder:
    """Looks media up and keeps account."""

    def __init__(
        self,
        task: Task,
        media: Path,
        sides: Mapping[str, Path],
        wanted: Sequence[str],
        style: Style,
        split: str,
    ) -> None:
        self.task, self.media, self.sides, self.wanted, self.style, self.split = (
            task,
            media,
            sides,
            wanted,
            style,
            split,
        )
        self.missing: dict[str, None] = {}
        self.without_channel = 0
        self._known: dict[tuple[Path, tuple[str, ...]], Path | None] = {}

    def record(self, example: Example) -> Record | None:
        """The record of an example, None if it has to be left out.

        Raises:
            RecordError: If it lacks what every record has: a name, a video, a question.
        """
        video, channels = self._find(self.media, example.video), self._channels(example)
        lacks = len(channels) < len(self.wanted)
        if video is None or (lacks and self.style == "authors"):
            return None
        self.without_channel += lacks
        about = {
            "task": self.task.name,
            "split": self.split,
            "style": self.style,
            "prompt": self.task.prompt.hash,
        }
        meta = {
            **example.meta,
            **about,
            "video_id": example.video_id,
            "labels": list(example.labels),
        }
        if example.labels:
            meta["family"] = example.labels[-1]
        try:
            return Record(
                id=example.id,
                video=str(video),
                channels=channels,
                turns=[
                    Turn(question=question, answer=answer) for question, answer in example.turns
                ],
                answers=list(example.answers),
                options=list(example.options),
                meta=meta,
            )
        except ValidationError as error:
            where, what = first_problem(error)
            raise RecordError(
                f"example {example.id!r} makes no record: {where}: {what}; check the annotation "
                "file"
            ) from error

    def _channels(self, example: Example) -> dict[str, Any]:
        """The side channels' media, without those that are missing."""
        found = {name: self._channel(example, name) for name in self.wanted}
        return {name: media for name, media in found.items() if media}

    def _channel(self, example: Example, name: str) -> str | list[str] | None:
        """The media of one channel."""
        if name in self.sides:
            place = self._find(self.sides[name], example.feature)
        elif name == "views":
            views = [self._find(self.media, places) for places in example.views]
            return [str(view) for view in views if view is not None]
        else:
            place = self._find(self.media, example.video)
        return None if place is None else str(place)

    def _find(self, folder: Path, places: tuple[str, ...]) -> Path | None:
        """The first place that exists, looked up once."""
        key = (folder, places)
        if key not in self._known:
            self._known[key] = next(
                (folder / place for place in places if (folder / place).exists()), None
            )
            if self._known[key] is None:
                self.missing[str(folder / places[0])] = None
        return self._known[key]


def side_folders(
    task: Task,
    features: Place | None,
    theirs: Place | Mapping[str, Place] | None,
    feature_map: Place | None,
) -> dict[str, Path]:
    """Channel -> folder of its precomputed features.

    Raises:
        ConfigError: If there are two kinds of them, or a mapping into none.
    """
    if features is not None and theirs:
        raise ConfigError("give --features or --authors-features, not both")
    if features is not None:
        return {"features": Path(features)}
    if not theirs:
        if feature_map is not None:
            raise ConfigError(
                "--feature-map says where features lie below a folder; give --authors-features "
                "(or --features)"
            )
        return {}
    named = theirs if isinstance(theirs, Mapping) else {task.channel: theirs}
    return {name: Path(folder) for name, folder in named.items()}


def wanted_channels(task: Task, sides: Mapping[str, Path], channels: Sequence[str]) -> list[str]:
    """The channels that records name: those asked for, else those with features, else the task's own.

    Raises:
        ConfigError: If nothing holds one of them.
    """
    wanted = list(dict.fromkeys((*channels, *sides))) or [task.channel]
    in_video = {info.channel for info in describe_encoders() if info.reads == "video"}
    known = {task.channel, *sides, *in_video}
    if odd := [name for name in wanted if name not in known]:
        raise ConfigError(
            f"the media of {task.title} hold no channel {odd[0]!r}; there are: "
            f"{', '.join(sorted(known))}"
        )
    return wanted
