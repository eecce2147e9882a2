"""Where an example's video and channels lie, below the media folder and the folders of features.

Whatever is looked for and not there is kept account of, so that a user learns of all of it at once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.channels import describe_encoders
from pave.errors import ConfigError
from pave.tasks.task import Example, Task

Place = str | os.PathLike[str]


@dataclass(frozen=True)
class Folders:
    """Where media are looked for.

    Attributes:
        media: The videos.
        sides: Channel -> folder of its precomputed features.
        channels: The channels that records name.
    """

    media: Path
    sides: Mapping[str, Path]
    channels: Sequence[str]

    def check(self, title: str) -> None:
        """Refuse folders that are not there.

        Raises:
            ConfigError: If one is missing.
        """
        for folder in (self.media, *self.sides.values()):
            if not folder.is_dir():
                raise ConfigError(
                    f"the folder {folder} does not exist; give the folder that holds the media "
                    f"of {title}"
                )


@dataclass(frozen=True)
class Found:
    """The media of one example.

    Attributes:
        video: Its video; None where it is missing.
        channels: Channel -> media, without those that are missing.
        complete: Whether all is there that was looked for.
    """

    video: Path | None
    channels: dict[str, Any]
    complete: bool


class Finder:
    """Looks media up and keeps account of the missing ones.

    Args:
        folders: Where to look.
    """

    def __init__(self, folders: Folders) -> None:
        self._folders = folders
        self._missing: dict[str, None] = {}  # a set that keeps its order
        self._known: dict[tuple[Path, tuple[str, ...]], Path | None] = {}

    @property
    def missing(self) -> list[str]:
        """Every missing medium, once: the first place where it was looked for."""
        return list(self._missing)

    def find(self, example: Example) -> Found:
        """The media of an example."""
        video = self._find(self._folders.media, example.video)
        channels = {}
        for name in self._folders.channels:
            media = self._channel(example, name)
            if media:
                channels[name] = media
        complete = video is not None and len(channels) == len(self._folders.channels)
        return Found(video, channels, complete)

    def _channel(self, example: Example, name: str) -> str | list[str] | None:
        """The media of one channel; nothing where they are missing."""
        if name in self._folders.sides:
            place = self._find(self._folders.sides[name], example.feature)
        elif name == "views":
            # Of several cameras those that are there: one missing is no reason to do without all.
            views = []
            for places in example.views:
                view = self._find(self._folders.media, places)
                if view is not None:
                    views.append(str(view))
            return views
        else:
            # Sound and fast frames are in the video itself, a scan is the folder of its frames.
            place = self._find(self._folders.media, example.video)
        return None if place is None else str(place)

    def _find(self, folder: Path, places: tuple[str, ...]) -> Path | None:
        """The first place that exists, looked up once: many questions share a video."""
        key = (folder, places)
        if key in self._known:
            return self._known[key]
        self._known[key] = None
        for place in places:
            if (folder / place).exists():
                self._known[key] = folder / place
                break
        else:
            # Named by its best guess; a user who mends that one needs no other.
            self._missing[str(folder / places[0])] = None
        return self._known[key]


def side_folders(
    task: Task,
    features: Place | None,
    authors_features: Place | Mapping[str, Place] | None,
    feature_map: Place | None,
) -> dict[str, Path]:
    """Channel -> folder of its precomputed features.

    Raises:
        ConfigError: If there are two kinds of them, or a mapping into none.
    """
    if features is not None and authors_features:
        raise ConfigError("give --features or --authors-features, not both")
    if features is not None:
        return {"features": Path(features)}
    if not authors_features:
        if feature_map is not None:
            raise ConfigError(
                "--feature-map says where features are in a folder; give the folder with "
                "--authors-features (or --features)"
            )
        return {}
    if not isinstance(authors_features, Mapping):
        # The paper's patches have one channel each: a single folder is that one's.
        return {task.channel: Path(authors_features)}
    return {name: Path(folder) for name, folder in authors_features.items()}


def wanted_channels(task: Task, sides: Mapping[str, Path], channels: Sequence[str]) -> list[str]:
    """The channels that records name: those asked for and those with features, else the task's own.

    Raises:
        ConfigError: If nothing holds one of them.
    """
    # Each once, in the order in which they were named.
    wanted = list(dict.fromkeys((*channels, *sides))) or [task.channel]
    in_video = {info.channel for info in describe_encoders() if info.reads == "video"}
    known = {task.channel, *sides, *in_video}
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"the media of {task.title} have no channel {name!r}; available: "
                f"{', '.join(sorted(known))}"
            )
    return wanted
