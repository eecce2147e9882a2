"""What an extraction tells while it runs and when it has finished."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

logger = logging.getLogger(__name__)

Status = Literal["made", "found", "absent", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What became of one clip's part.

    Attributes:
        id: Id of the first record of the clip.
        part: The channel, or "visual".
        status: Made now, found in the cache, absent from the clip (a silent film), or skipped.
        reason: Why it was skipped.
        bytes: Bytes written.
    """

    id: str
    part: str
    status: Status
    reason: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Skipped:
    """A clip that cannot be used, and why."""

    id: str
    part: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """Where an extraction is.

    Attributes:
        done: Clips finished.
        total: Clips of this call's share.
        skipped: How many of their parts were skipped.
        seconds: Since the call began.
        encoded: Clips that this call encoded itself; found ones are quick and would spoil the rate.
    """

    done: int
    total: int
    skipped: int
    seconds: float
    encoded: int

    @property
    def rate(self) -> float:
        """Clips a second, of those that had to be encoded."""
        # Two looks at the clock may fall within its grain.
        if self.seconds <= 0:
            return 0.0
        return self.encoded / self.seconds

    @property
    def left(self) -> float | None:
        """Seconds left if all others must be encoded too; None while nothing is known."""
        if self.rate == 0:
            return None
        return (self.total - self.done) / self.rate


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class ExtractReport:
    """The summary of an extraction.

    Attributes:
        clips: Clips of this call's share.
        made: Parts (a clip's channel, or its visual tokens) encoded by this call.
        found: Parts that were in the cache already, or were made by somebody else meanwhile.
        absent: Parts that their clip turned out not to have (a film without sound); that is
            remembered too.
        without: Clips whose record names no media for the channel.
        skipped: Parts that cannot be made, with reasons.
        bytes: Bytes written.
        seconds: Wall time.
    """

    clips: int
    made: int
    found: int
    absent: int
    without: int
    skipped: list[Skipped] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    @property
    def usable(self) -> int:
        """Parts that training and evaluation can use: encoded, found, or known to be absent."""
        return self.made + self.found + self.absent

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


class Tally:
    """Counts outcomes as they come, whichever engine they come from.

    Args:
        clips: Clips of this call's share.
        without: How many of them have no media for the channel.
        watch: Called with the progress after each addition.
    """

    def __init__(self, clips: int, without: int, watch: Watch | None) -> None:
        self.clips = clips
        self.without = without
        self.watch = watch
        # Not the time of day, which may be set back while this runs.
        self.started = time.monotonic()
        self.done = 0
        self.encoded = 0
        self.bytes = 0
        self.count: Counter[Status] = Counter()
        self.skipped: list[Skipped] = []

    def add(self, clips: int, outcomes: Sequence[Outcome]) -> None:
        """Note what became of some clips."""
        self.done += clips
        # Clips come in small units; one that held anything new counts as encoded.
        if any(outcome.status != "found" for outcome in outcomes):
            self.encoded += clips
        for outcome in outcomes:
            self.count[outcome.status] += 1
            self.bytes += outcome.bytes
            if outcome.status == "skipped":
                logger.warning("skipped %s of %s: %s", outcome.part, outcome.id, outcome.reason)
                self.skipped.append(Skipped(outcome.id, outcome.part, outcome.reason))
        if self.watch is not None:
            self.watch(self.progress())

    def progress(self) -> Progress:
        """Where the extraction is."""
        seconds = time.monotonic() - self.started
        return Progress(self.done, self.clips, len(self.skipped), seconds, self.encoded)

    def report(self) -> ExtractReport:
        """The summary."""
        return ExtractReport(
            clips=self.clips,
            made=self.count["made"],
            found=self.count["found"],
            absent=self.count["absent"],
            without=self.without,
            skipped=self.skipped,
            bytes=self.bytes,
            seconds=round(time.monotonic() - self.started, 3),
        )
