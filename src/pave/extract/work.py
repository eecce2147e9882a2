"""The work itself: one function that turns some clips into entries of a store, the same in a process, a worker or a cluster."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch

from pave.bases import Base, load_base, tower_of
from pave.cache import TokenCache, kept_dtype
from pave.channels import Encoder, Source, cache_key, encode_cached, make_encoder, needs_tower
from pave.data.features import Features
from pave.data.records import group_by_clip, read_records
from pave.errors import ConfigError, PaveError
from pave.extract.config import ExtractConfig
from pave.extract.report import Outcome
from pave.files import PlaceError

logger = logging.getLogger(__name__)

VISUAL = "visual"
CLIPS_PER_UNIT = 8  # what one worker takes at a time and one lease covers


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
        name: The same in every process that extracts the same records with the same settings.
        clips: How many.
        jobs: Their parts.
    """

    name: str
    clips: int
    jobs: tuple[Job, ...]


def plan(config: ExtractConfig) -> tuple[list[Unit], int]:
    """Cut the records of this call's share into units.

    Returns:
        The units, and the number of clips without media for the channel.

    Raises:
        RecordError: If the records cannot be read. Missing media is not looked for here; such clips
            are skipped later.
        ChannelError: If the encoder is unknown.
        ConfigError: If it reads with a base's tower and no base is named.
    """
    if config.base is None and _reads_with_tower(config):
        raise ConfigError(
            f"encoder {config.channel}/{config.encoder} reads with the base's tower; name the base"
        )
    clips = [group[0] for group in group_by_clip(read_records(config.records, check_media=False))]
    decides = config.model_dump_json(
        include={"channel", "encoder", "encoder_settings", "visual", "base", "inputs", "frames"}
    )
    identity = hashlib.sha256(config.records.read_bytes() + decides.encode()).hexdigest()[:16]
    part, parts = config.share
    units, without = [], 0
    for number, start in enumerate(range(0, len(clips), CLIPS_PER_UNIT)):
        if number % parts != part:
            continue
        some = clips[start : start + CLIPS_PER_UNIT]
        jobs = [Job(clip.id, VISUAL, clip.video) for clip in some] if config.visual else []
        if config.channel is not None:
            has = [clip for clip in some if config.channel in clip.channels]
            jobs += [Job(clip.id, config.channel, clip.channels[config.channel]) for clip in has]
            without += len(some) - len(has)
        units.append(Unit(f"{identity}-{number}", len(some), tuple(jobs)))
    return units, without


def open_store(config: ExtractConfig) -> TokenCache:
    """The store that a call writes to; a new one keeps bf16 unless told otherwise.

    Raises:
        ConfigError: If it keeps another type than the one asked for.
    """
    wanted = config.dtype
    if (
        wanted is None
        and kept_dtype(config.store) is None
        and not any(config.store.glob("??/*.safetensors"))
    ):
        wanted = None if any(config.store.glob("shards/*.safetensors")) else "bf16"
    return TokenCache(config.store, torch.bfloat16 if wanted == "bf16" else None)


class _Part(Protocol):
    """How one part of a clip is made."""

    def key(self, source: Source) -> str: ...

    def make(self, source: Source) -> bool:
        """Encode and store; whether the clip has it."""
        ...


@dataclass(frozen=True)
class _Channel:
    store: TokenCache
    encoder: Encoder

    def key(self, source: Source) -> str:
        return cache_key(self.store, self.encoder, source)

    def make(self, source: Source) -> bool:
        return encode_cached(self.store, self.encoder, source) is not None


@dataclass(frozen=True)
class _Visual:
    features: Features

    def key(self, source: Source) -> str:
        return self.features.visual_key(str(source))

    def make(self, source: Source) -> bool:
        self.features.make_visual(str(source))
        return True


class Encoding:
    """Encodes jobs into a store; loads encoder and base once.

    Args:
        config: What to encode, and where to.
        base: A loaded base to use instead of loading `config.base`.
    """

    def __init__(self, config: ExtractConfig, base: Base | None = None) -> None:
        self.store, self.retry = open_store(config), config.retry
        self._parts: dict[str, _Part] = {}
        base = _seeing(config, base)
        if config.visual and base is not None:
            self._parts[VISUAL] = _Visual(Features(base, {}, self.store, frames=config.frames))
        if config.channel is not None and config.encoder is not None:
            tower = None if base is None else tower_of(base)
            encoder = make_encoder(
                config.channel, config.encoder, config.encoder_settings, tower=tower
            )
            self._parts[config.channel] = _Channel(self.store, encoder)

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Encode jobs one after the other; a broken clip is an outcome, not an error."""
        for job in jobs:
            yield self._one(job)

    def note_crash(self, job: Job, reason: str) -> Outcome:
        """Note that a clip ended the process that encoded it."""
        self.store.fail(self._parts[job.part].key(job.source), reason)
        return Outcome(job.id, job.part, "skipped", reason)

    def _one(self, job: Job) -> Outcome:
        part = self._parts[job.part]
        key = ""
        try:
            key = part.key(job.source)
            if self.store.contains(key):
                return Outcome(job.id, job.part, "found")
            reason = None if self.retry else self.store.failure(key)
            if reason is not None:
                return Outcome(
                    job.id, job.part, "skipped", f"{reason} (noted before; --retry tries again)"
                )
            has = part.make(job.source)
        except PaveError as error:
            if key:
                self.store.fail(key, str(error))
            return Outcome(job.id, job.part, "skipped", str(error))
        except PlaceError:  # a full disk is no fault of the clip
            raise
        except Exception as error:  # an encoder's bug on one clip must not cost the others; it is not noted, so it is tried again
            logger.exception("encoding %s of %s failed", job.part, job.id)
            return Outcome(
                job.id,
                job.part,
                "skipped",
                f"unexpected {type(error).__name__}: {' '.join(str(error).split())}",
            )
        if self.retry:
            self.store.forget_failure(key)
        file = self.store.loose(key)
        size = (
            file.stat().st_size if file.exists() else 0
        )  # another process may have packed it already
        return Outcome(job.id, job.part, "made" if has else "absent", bytes=size)


def _seeing(config: ExtractConfig, base: Base | None) -> Base | None:
    """The base with its tower, where something needs it; a base takes long to load, and most encoders do without.

    Raises:
        BaseError: If it cannot be loaded, or not be fed so.
        ChannelError: If the encoder is unknown.
    """
    if not config.visual and not _reads_with_tower(config):
        return None
    if base is None and config.base is not None:
        base = load_base(config.base)
    if base is not None:
        base.use(config.inputs)
    return base


def _reads_with_tower(config: ExtractConfig) -> bool:
    return (
        config.channel is not None
        and config.encoder is not None
        and needs_tower(config.channel, config.encoder)
    )


@lru_cache(1)
def encoding_of(config_json: str) -> Encoding:
    """The `Encoding` of a worker process, made with its first unit.

    Args:
        config_json: An `ExtractConfig` as JSON.
    """
    return Encoding(ExtractConfig.model_validate_json(config_json))


def encode_unit(config_json: str, jobs: Sequence[Job]) -> list[Outcome]:
    """What a worker process runs."""
    return list(encoding_of(config_json)(jobs))
