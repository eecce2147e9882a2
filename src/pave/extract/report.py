"""What an extraction tells while it runs and when it has finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["made", "found", "absent", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What became of one clip's part.

    Attributes:
        id: Id of the first record of the clip.
        part: The channel, or "visual".
        status: Made now, found in the store, absent from the clip (a silent film), or skipped.
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
        done: Clips finished, by anybody.
        total: Clips of this call's share.
        skipped: How many of them were skipped.
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
        return self.encoded / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> float | None:
        """Seconds left if all others must be encoded too; None while nothing is known."""
        return (self.total - self.done) / self.rate if self.rate > 0 else None


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class ExtractReport:
    """The summary of an extraction.

    Attributes:
        clips: Clips of this call's share.
        made: Parts (a clip's channel, or its visual tokens) encoded by this call.
        found: Parts that were in the store already, or were made by somebody else meanwhile.
        absent: Parts that their clip turned out not to have (a film without sound); that is
            remembered too.
        without: Clips whose record names no media for the channel.
        skipped: Parts that cannot be made, with reasons.
        bytes: Bytes written.
        packed: Entries moved into shards.
        seconds: Wall time.
    """

    clips: int
    made: int
    found: int
    absent: int
    without: int
    skipped: list[Skipped] = field(default_factory=list)
    bytes: int = 0
    packed: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)
