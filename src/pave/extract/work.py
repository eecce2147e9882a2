"""The work itself: one class that turns media into entries of a token cache.

It is the same in this process, in a worker process and in an actor on a cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch

from pave.bases import Base, load_base, tower_of
from pave.bases.plain import as_base
from pave.cache import TokenCache, kept_dtype
from pave.cache.token_cache import holds_entries
from pave.channels import Encoder, Source, cache_key, encode_cached, make_encoder
from pave.channels.registry import registered_in
from pave.data.features import Features, unexpected
from pave.errors import ChannelError, PaveError
from pave.extract.config import ExtractConfig
from pave.extract.plan import VISUAL, Job, reads_with_tower
from pave.extract.report import Outcome
from pave.files import PlaceError
from pave.placement import find_device, running_on
from pave.workers import Workers, kept

logger = logging.getLogger(__name__)


def open_cache(config: ExtractConfig) -> TokenCache:
    """The cache that a call writes to; a new one keeps bf16 unless told otherwise.

    Raises:
        ConfigError: If it keeps another type than the one asked for.
    """
    dtype = config.cache_dtype
    # A cache with entries and no type of its own keeps tensors as given, and goes on so.
    if dtype is None and kept_dtype(config.cache) is None and not holds_entries(config.cache):
        dtype = "bf16"
    return TokenCache(config.cache, torch.bfloat16 if dtype == "bf16" else None)


class _Part(Protocol):
    """How one part of a clip is made."""

    def key(self, source: Source) -> str: ...

    def make(self, source: Source) -> bool:
        """Encode and keep; whether the clip has it."""
        ...


@dataclass(frozen=True)
class _Channel:
    """Makes a clip's tokens of one channel."""

    cache: TokenCache
    encoder: Encoder

    def key(self, source: Source) -> str:
        return cache_key(self.cache, self.encoder, source)

    def make(self, source: Source) -> bool:
        return encode_cached(self.cache, self.encoder, source) is not None


@dataclass(frozen=True)
class _Visual:
    """Makes a clip's visual tokens."""

    features: Features

    def key(self, source: Source) -> str:
        return self.features.visual_key(str(source))

    def make(self, source: Source) -> bool:
        self.features.make_visual(str(source))
        return True


class Encoding:
    """Encodes jobs into a token cache; loads encoder and base once.

    Args:
        config: What to encode, and where to.
        base: A loaded base to use instead of loading `config.base`.

    Raises:
        BaseError: If the base cannot be loaded, or not be fed so.
        ChannelError: If the encoder is unknown or misconfigured.
        ConfigError: If the cache keeps another type of tensors, or there is no such device.
    """

    def __init__(self, config: ExtractConfig, base: Base | None = None) -> None:
        self.cache = open_cache(config)
        self.retry = config.retry
        self._device = find_device(config.device)
        self._parts: dict[str, _Part] = {}
        base = _seeing(config, base, self._device)
        if config.visual and base is not None:
            self._parts[VISUAL] = _Visual(Features(base, {}, self.cache, frames=config.frames))
        if config.channel is not None and config.encoder is not None:
            tower = None if base is None else tower_of(base)
            encoder = make_encoder(
                config.channel, config.encoder, config.encoder_settings, tower=tower
            )
            self._parts[config.channel] = _Channel(self.cache, encoder)

    def encode(self, job: Job) -> Outcome:
        """Encode one part of a clip, unless it is there; a broken clip is an outcome, no error.

        Raises:
            PlaceError: If the cache cannot be written: a full disk is no fault of the clip.
        """
        with running_on(self._device):  # encoders read their weights with the first clip
            return self._encode(job)

    def _encode(self, job: Job) -> Outcome:
        """The same on the device; what is the fault of the clip is noted in the cache."""
        part = self._parts[job.part]
        key = ""
        try:
            key = part.key(job.source)
            if self.cache.contains(key):
                return Outcome(job.id, job.part, "found")
            reason = None if self.retry else self.cache.failure(key)
            if reason is not None:
                reason += " (recorded earlier; --retry tries it again)"
                return Outcome(job.id, job.part, "skipped", reason)
            has = part.make(job.source)
        except PaveError as error:
            # Media that cannot be hashed have no key to note it under.
            if key:
                self.cache.fail(key, str(error))
            return Outcome(job.id, job.part, "skipped", str(error))
        except PlaceError:
            # Here, lest the next clause take a full disk for a fault of the clip.
            raise
        except Exception as error:
            # An encoder's bug on one clip must not cost the others. It may be mended, so nothing
            # is noted, and the clip is tried again next time.
            logger.exception("encoding %s of %s failed", job.part, job.id)
            return Outcome(job.id, job.part, "skipped", unexpected(error))
        # What was noted before has turned out wrong.
        if self.retry:
            self.cache.forget_failure(key)
        size = self.cache.file(key).stat().st_size
        return Outcome(job.id, job.part, "made" if has else "absent", bytes=size)

    def note_crash(self, job: Job, reason: str) -> Outcome:
        """Note that a clip ended the process that encoded it."""
        try:
            self.cache.fail(self._parts[job.part].key(job.source), reason)
        except PaveError as error:
            # Its media have gone meanwhile: then there is no key to note it under.
            reason = str(error)
        return Outcome(job.id, job.part, "skipped", reason)


def encoding_of(config_json: str) -> Encoding:
    """The `Encoding` of a worker process, made with its first job.

    Args:
        config_json: An `ExtractConfig` as JSON.
    """
    # One setting at a time: the worker forgets it when its parent has no more work.
    encoding: Encoding = kept(
        config_json, lambda: Encoding(ExtractConfig.model_validate_json(config_json))
    )
    return encoding


def encode_job(config_json: str, job: Job) -> Outcome:
    """What a worker process runs."""
    return encoding_of(config_json).encode(job)


def encode_jobs(config_json: str, jobs: Sequence[Job]) -> list[Outcome]:
    """What a worker of a cluster runs."""
    return [encode_job(config_json, job) for job in jobs]


def note_crash(config_json: str, job: Job, reason: str) -> Outcome:
    """What a worker process runs after a clip has ended another one."""
    return encoding_of(config_json).note_crash(job, reason)


def known_to(workers: Workers, config: ExtractConfig) -> bool:
    """Whether worker processes can make the encoder; not one of the script that runs."""
    if config.channel is None or config.encoder is None:
        return True
    module = registered_in(config.channel, config.encoder)  # here, as plan() has found it
    known: bool = workers.call(module, _knows, config.channel, config.encoder, module)
    return known


def _knows(channel: str, encoder: str, module: str) -> bool:
    """In a worker: whether the encoder is registered there, once its module is imported."""
    try:
        # As it does where no entry point announces it.
        import_module(module)
        return registered_in(channel, encoder) == module
    except (ImportError, ChannelError):
        return False


def _seeing(config: ExtractConfig, base: Base | None, device: torch.device) -> Base | None:
    """The base with its tower, where something needs it.

    A base takes long to load, and most encoders do without.
    """
    if not config.visual and not reads_with_tower(config):
        return None
    if base is None and config.base is not None:
        base = load_base(config.base, dtype=config.dtype, **config.on(device))
    if base is not None:
        as_base(base).use(config.inputs.asked)
    return base
