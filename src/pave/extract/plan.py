"""What there is to do: the clips of some records, in units that one process takes at a time."""

from __future__ import annotations

from dataclasses import dataclass

from pave.channels import Source, needs_tower
from pave.data import Record, group_by_clip, open_records
from pave.errors import ConfigError
from pave.extract.config import ExtractConfig

VISUAL = "visual"
"""The part of a clip that the base's own tower makes, beside its channels."""
# Few enough to lose to a crash, enough that handing them over costs nothing beside encoding.
CLIPS_PER_UNIT = 8


@dataclass(frozen=True)
class Job:
    """One part of one clip to be encoded.

    Attributes:
        id: Id of the clip's first record.
        part: The channel, or "visual".
        source: Its media.
    """

    id: str
    part: str
    source: Source


@dataclass(frozen=True)
class Unit:
    """A few clips that go through one process together.

    Attributes:
        clips: How many.
        jobs: Their parts.
    """

    clips: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Plan:
    """The work of one call.

    Attributes:
        units: What to do.
        clips: Clips in them.
        without: How many of these have no media for the channel.
    """

    units: tuple[Unit, ...]
    clips: int
    without: int


def plan(config: ExtractConfig) -> Plan:
    """Cut the records of this call's share into units.

    Raises:
        RecordError: If the records cannot be read. Missing media is not looked for here; such clips
            are skipped later.
        ChannelError: If the encoder is unknown.
        ConfigError: If it reads with a base's tower and no base is named.
    """
    if config.base is None and reads_with_tower(config):
        raise ConfigError(
            f"encoder {config.channel}/{config.encoder} uses the base's vision tower; set base"
        )
    # A missing file costs its own clip here; training refuses such records.
    # Records that share a clip are one clip, under the id of the first.
    clips = group_by_clip(open_records(config.records, check_media=False))
    part, parts = config.share
    units = []
    done = without = 0
    # Shares are dealt out unit by unit, so that each has its part of every stretch of the file.
    for start in range(part * CLIPS_PER_UNIT, len(clips), parts * CLIPS_PER_UNIT):
        some = [clip[0] for clip in clips[start : start + CLIPS_PER_UNIT]]
        units.append(_unit(config, some))
        done += len(some)
        if config.channel is not None:
            without += sum(config.channel not in clip.channels for clip in some)
    return Plan(tuple(units), done, without)


def reads_with_tower(config: ExtractConfig) -> bool:
    """Whether the encoder reads with the base's own tower.

    Raises:
        ChannelError: If the encoder is unknown.
    """
    if config.channel is None or config.encoder is None:
        return False
    return needs_tower(config.channel, config.encoder)


def _unit(config: ExtractConfig, clips: list[Record]) -> Unit:
    """The jobs of some clips."""
    jobs = []
    for clip in clips:
        if config.visual:
            jobs.append(Job(clip.id, VISUAL, clip.video))
        if config.channel is not None and config.channel in clip.channels:
            jobs.append(Job(clip.id, config.channel, clip.channels[config.channel]))
    return Unit(len(clips), tuple(jobs))
