"""Clips of requests: read in processes that may die of them, seen by the frozen parts, and kept.

What a stranger sends is decoded beside the server, by `pave.workers`. What the frozen parts make of
a clip (visual tokens, side tokens) never depends on the question, so it is kept by the content of
the media, and requests that name the same clip at the same time wait for one reading.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from torch import Tensor

from pave.bases.pace import sampling_of
from pave.channels import make_encoder
from pave.channels.registry import needs_tower
from pave.channels.scene3d.scene import open_scene
from pave.channels.weights import check_places
from pave.data import ClipFeatures
from pave.errors import ChannelError, MediaError, PaveError
from pave.media import Frames, Sampling, Uniform, probe, read_frames, read_picture
from pave.media import limits as media_limits
from pave.model import PatchedModel
from pave.patches.parts import Part
from pave.patches.patch import Patch
from pave.serve.content import SentClip
from pave.serve.failures import RequestError
from pave.serve.limits import Limits
from pave.serve.sources import Source
from pave.tokens import Tokens
from pave.workers import Workers, kept

ClipKey = tuple[Any, ...]
EncoderWords = tuple[str, str, dict[str, Any]]
"""Channel, name and settings of an encoder."""
MEDIA_DEFAULTS = {
    # 2^25 = 33 million: a film of 8K passes, a picture made to fill memory does not.
    media_limits.PIXELS: 1 << 25,
    # 1.5 GiB of frames held at once.
    media_limits.CLIP_PIXELS: 1 << 29,
    media_limits.SOUND_SAMPLES: 1 << 28,
}
"""Limits of `pave.media` for what strangers send, lower than for files of one's own."""


@dataclass(frozen=True)
class Wanted:
    """Side tokens of one patch that a clip needs.

    Attributes:
        part: The patch's channel.
        patch: The patch's name.
        sources: Files of its channel.
        tower: Whether its encoder reads with the base's tower, which no worker has.
    """

    part: Part
    patch: str
    sources: tuple[Source, ...]
    tower: bool

    @property
    def media(self) -> str | list[str]:
        """The source as encoders take it: one path, or several."""
        paths = [str(source.path) for source in self.sources]
        return paths[0] if len(paths) == 1 else paths


@dataclass(frozen=True)
class Order:
    """All that is to be read of one clip.

    Attributes:
        clip: What was sent.
        frames: How many frames, or how often.
        sampling: Which frames those are.
        query: Whether a fusion reads the tower's own tokens.
        wanted: Side tokens.
        key: Equal for clips of which the same is made.
        absent: Patches at work whose channel nobody sent.
    """

    clip: SentClip
    frames: Any
    sampling: Sampling
    query: bool
    wanted: tuple[Wanted, ...]
    key: ClipKey
    absent: tuple[str, ...]


class Reader:
    """Reads clips with a model's encoders, in worker processes.

    Args:
        model: The model.
        limits: Of one clip.
    """

    def __init__(self, model: PatchedModel, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._workers = Workers(
            threads=1, device=str(model.base.device), seconds=limits.max_request_seconds
        )
        # Larger ones that whoever started the server has set stay as they are.
        self._variables = {media_limits.SOUND_SECONDS: str(limits.max_media_seconds)}
        for name, value in MEDIA_DEFAULTS.items():
            self._variables[name] = os.environ.get(name, str(value))
        for name, patch in model.patches.items():
            for part in patch.parts.values():
                spec = part.spec.encoder
                if spec is not None:
                    check_places(spec.settings, name)  # what a folder from elsewhere leads to

    def warm(self) -> None:
        """Start a worker now, which takes seconds, and not with the first request."""
        self._workers.call("a first call", os.getpid)

    def order(self, clip: SentClip, patches: Mapping[str, Patch]) -> Order:
        """What a clip needs for the patches at work.

        Args:
            clip: What was sent.
            patches: Patches at the weights of the request.

        Raises:
            RequestError: If something was sent for a channel that no patch at work listens to.
        """
        base = self._model.base
        at_work = [patch for patch in patches.values() if patch.weight != 0]
        known = set(chain.from_iterable(patch.parts for patch in at_work))
        for channel in clip.sides:
            if channel not in known:
                raise RequestError(
                    f"{clip.video.label}: no patch of this model has the channel {channel!r}; "
                    "choose another model (GET /v1/models), or leave the channel out"
                )
        wanted, absent, queries = [], [], []
        for patch in at_work:
            for part in patch.parts.values():
                found = self._wanted(clip, patch, part)
                if found is None:
                    absent.append(part.key)
                    continue
                wanted.append(found)
                queries.append(part.spec.fusion.query)
        # As `ask` takes them: as the patches were trained, and the most where they differ.
        counts = {patch.config.frames for patch in at_work if patch.config.frames is not None}
        trained = sorted(counts, key=lambda count: (count == "auto", count))
        frames = clip.frames or [base.settings.frames, *trained][-1]
        # Content, not names: the same film under two names is one clip.
        sides = []
        for one in wanted:
            digests = tuple(source.digest for source in one.sources)
            sides.append((one.part.key, digests))
        query = "pre_projector" in queries
        key = (clip.video.digest, frames, query, tuple(sides))
        sampling = sampling_of(base, frames)
        return Order(clip, frames, sampling, query, tuple(wanted), key, tuple(absent))

    def _wanted(self, clip: SentClip, patch: Patch, part: Part) -> Wanted | None:
        """Where one patch finds a channel; None where it does not."""
        sources = clip.sides.get(part.channel)
        spec = part.spec.encoder
        from_video = sources is None and part.in_video
        if sources is None and not from_video:
            return None
        if spec is None:
            raise RequestError(
                f"patch '{patch.name}' takes ready-made {part.channel} tokens, which this server "
                "cannot read; leave the side part out"
            )
        # What is sent for the channel comes before what the film itself holds.
        found = tuple(sources or [clip.video])
        tower = needs_tower(part.channel, spec.name)
        return Wanted(part, patch.name, found, tower)

    def read(self, order: Order) -> tuple[Frames, dict[str, Tokens | None]]:
        """Decode a clip and encode its channels, in a worker; those that need the tower wait.

        Raises:
            MediaError: If a file is broken, too long or too large, or has ended the worker.
            ChannelError: If a file is not what the encoder reads.
        """
        sources = [order.clip.video]
        jobs = []  # plain data, which pickles
        for one in order.wanted:
            spec = one.part.spec.encoder
            assert spec is not None
            encoder: EncoderWords | str = one.part.channel
            if not one.tower:
                encoder = (one.part.channel, spec.name, dict(spec.settings))
            jobs.append((one.part.key, one.media, encoder))
            sources += one.sources
        found: tuple[Frames, dict[str, Tokens | None]] = self._call(
            sources, read_clip, str(order.clip.video.path), order.sampling, jobs
        )
        return found

    def picture(self, source: Source) -> Tensor:
        """Decode a picture in a worker.

        Raises:
            MediaError: If it is broken or too large.
        """
        found: Tensor = self._call([source], read_picture_file, str(source.path))
        return found

    def look(self, order: Order, heard: Source) -> Any:
        """What a page shows of a clip: frames, and the loudness of a file's sound."""
        from pave.serve.viewing import look_at

        video = str(order.clip.video.path)
        sources = [order.clip.video, heard]
        sides: dict[str, list[str]] = {}
        for one in order.wanted:
            sides[one.part.channel] = [str(source.path) for source in one.sources]
            sources += one.sources
        return self._call(sources, look_at, video, order.sampling, str(heard.path), sides)

    def see(self, order: Order, read: tuple[Frames, dict[str, Tokens | None]]) -> ClipFeatures:
        """What the frozen parts make of a clip that was read. Called by the model's thread."""
        frames, side = read
        base = self._model.base
        clip = base.clip(frames)
        places = clip.text.count(base.family.placeholder)
        if places > base.context:  # before the tower, which takes its time
            raise base.too_long(places, places, clip.frames)
        channels = {name: tokens for name, tokens in side.items() if tokens is not None}
        for one in order.wanted:
            if one.tower:
                encoder = self._model.encoder(one.patch, one.part.channel)
                assert encoder is not None
                tokens = encoder.encode(one.media)
                if tokens is not None:
                    channels[one.part.key] = tokens
        # The most work of a new clip.
        (visual,) = base.visual([clip], want_query=order.query)
        # Pixels are not read again, and would be most of what is kept.
        small = {key: value for key, value in clip.pixels.items() if key != base.family.pixels}
        return ClipFeatures(replace(clip, pixels=small), visual, channels)

    def close(self) -> None:
        """Let the workers go."""
        self._workers.__exit__(None, None, None)

    def _call(self, sources: Sequence[Source], work: Any, *arguments: Any) -> Any:
        """Run in a worker; what is wrong names the client's media, and no path of this machine."""
        limits = (self._variables, self._limits.max_media_seconds)
        try:
            return self._workers.call(sources[0].label, guarded, limits, work, *arguments)
        except PaveError as error:
            text = str(error)
            for source in sources:
                text = text.replace(str(source.path), source.label)
            raise type(error)(text) from error


# ---------------------------------------------------------------- in a worker


def guarded(limits: tuple[Mapping[str, str], int], work: Any, *arguments: Any) -> Any:
    """Run within a server's limits of media."""
    variables, seconds = limits
    # The worker is ours alone, so this reaches nothing else.
    os.environ.update(variables)
    return work(seconds, *arguments)


def read_clip(
    seconds: int,
    video: str,
    sampling: Sampling,
    jobs: Sequence[tuple[str, str | list[str], EncoderWords | str]],
) -> tuple[Frames, dict[str, Tokens | None]]:
    """Frames of a clip, and its side tokens by patch.

    Args:
        seconds: Longest film or sound.
        video: The film.
        sampling: Which of its frames.
        jobs: Patch, its media, and its encoder (channel, name, settings); the channel alone where
            only the server itself can run it, and its media are looked through here.
    """
    paths = [video]
    for _, media, _ in jobs:
        paths += [media] if isinstance(media, str) else media
    for path in dict.fromkeys(paths):
        _must_be_short(path, seconds)
    frames = read_frames(video, sampling)
    side: dict[str, Tokens | None] = {}
    for patch, media, encoder in jobs:
        if isinstance(encoder, str):
            _look_through(encoder, media)
            continue
        channel, name, settings = encoder
        made = kept(repr(encoder), lambda: make_encoder(channel, name, settings))  # noqa: B023
        side[patch] = made.encode(media)
    return frames, side


def read_picture_file(seconds: int, path: str) -> Tensor:
    """A picture `[3, H, W]`; it has no seconds."""
    return read_picture(Path(path))


def _must_be_short(path: str, seconds: int) -> None:
    """Refuse films and sounds that are too long; what is neither has no length."""
    try:
        info = probe(path)
    except MediaError:
        return  # whoever reads it says what is wrong
    if info.duration > seconds:
        raise MediaError(
            f"{path}: {info.duration:,.0f} s long, which exceeds the limit of {seconds:,} s "
            "(max_media_seconds); cut it"
        )


def _look_through(channel: str, media: str | list[str]) -> None:
    """Read some of each file, so that what kills a decoder kills this process."""
    paths = media
    if isinstance(media, str):
        paths = [media]
    for path in paths:
        try:
            if channel == "scene3d":
                open_scene(path).read(0)
            else:
                read_frames(path, Uniform(4))
        except MediaError as error:
            raise ChannelError(str(error)) from error
