"""What the frozen parts make of a clip, computed once and kept: visual tokens of the base, tokens of each side channel.

Neither the base's tower nor the encoders ever change while a patch trains, so their outputs are
kept and every epoch, every arm of a comparison and every evaluation reads them again. A key holds
the content of the media, the settings of sampling and preprocessing, and the tower's weights;
change one and the tokens are computed anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from typing import Any

import torch
from torch import Tensor

from pave.bases.base import Base
from pave.bases.digest import language_digest, tower_digest
from pave.bases.visual import Clip, Layout, Visual
from pave.cache import TokenCache
from pave.channels import Encoder, cache_key, encode_cached
from pave.data.records import Record, clip_key
from pave.errors import ConfigError, PaveError, RecordError
from pave.media import Frames, Uniform, read_frames
from pave.tokens import Tokens

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipFeatures:
    """Everything of one clip that training and evaluation need; no media, no tower.

    Attributes:
        clip: Placeholder text, times and small inputs (grids); its pixels are gone.
        visual: The frozen base's visual tokens.
        channels: Side tokens of the channels this clip has, by the names of `Features.encoders`.
    """

    clip: Clip
    visual: Visual
    channels: Mapping[str, Tokens] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecomputeReport:
    """How many clips were encoded and how many were in the cache already."""

    computed: int
    reused: int


class Features:
    """Cached features of records: `precompute` fills the cache, indexing reads it (and computes what is missing).

    Args:
        base: The frozen base.
        encoders: Name under which a model looks for the tokens (a patch's, or its channel's) -> the
            encoder that makes them from the record's media of the encoder's channel. Other channels
            of a record are left out.
        cache: Where tokens are kept.
        frames: Frames sampled evenly from each clip; None takes the base's own number.

    Example:
        >>> features = Features(base, {"audio": make_encoder("audio", "mel")}, TokenCache("cache"))  # doctest: +SKIP
        >>> features.precompute(records, workers=2)                                                   # doctest: +SKIP
        >>> features[records[0]].visual.tokens.shape                                                  # doctest: +SKIP
        torch.Size([145, 576])
    """

    def __init__(
        self,
        base: Base,
        encoders: Mapping[str, Encoder],
        cache: TokenCache,
        *,
        frames: int | None = None,
    ) -> None:
        """Fix what the keys depend on; the tower's digest is computed or looked up here, once."""
        self.base, self.encoders, self.cache = base, dict(encoders), cache
        self.sampling = Uniform(frames or base.settings.frames)
        self._visual_settings: dict[str, Any] = {
            "kind": "visual",
            "fingerprint": base.fingerprint(),
            "settings": base.settings.model_dump(mode="json"),
            "weights": _known_digest(base, cache),
            "frames": self.sampling.count,
        }
        if not base.inputs.native:
            self._visual_settings["inputs"] = base.inputs.model_dump(mode="json")
        self._keys: dict[tuple[str, str], str] = {}

    def __getitem__(self, record: Record) -> ClipFeatures:
        """The features of a record's clip, from the cache where it has them."""
        tensors = self._visual(record)
        clip, visual = _unpack_clip(tensors), _unpack_visual(tensors, self.base.dtype)
        heard = {name: self._encode(record, name) for name in self._here(record)}
        return ClipFeatures(
            clip, visual, {name: tokens for name, tokens in heard.items() if tokens is not None}
        )

    def clip(self, record: Record) -> Clip:
        """What the language model needs to know of a record's clip: its text, times and grid; the tokens stay on the disk."""
        return _unpack_clip(self._visual(record))

    def precompute(
        self, records: Iterable[Record], *, workers: int = 1, progress: Progress | None = None
    ) -> PrecomputeReport:
        """Encode every clip that the cache does not hold yet.

        Decoding and channel encoders run in threads beside the tower, which takes one clip at a
        time, so that the result never depends on which clips were missing. An interrupted call
        continues where it stopped.

        Args:
            records: Any records; clips that several share are encoded once.
            workers: Threads that decode and encode channels.
            progress: Called with `(done, total)` after each clip.

        Raises:
            ConfigError: If `workers` is below 1.
            RecordError: If some media could not be read. Everything else has been kept; the
                message names the first failures.
        """
        if workers < 1:
            raise ConfigError(f"workers={workers}: precomputing needs at least one thread")
        clips = list({clip_key(record): record for record in records}.values())
        todo = [record for record in clips if self._missing(record)]
        failures: list[str] = []
        done = len(clips) - len(todo)
        with ThreadPoolExecutor(workers, thread_name_prefix="pave-read") as pool:
            for record, job in _ahead(pool, self._read, todo, 2 * workers):
                try:
                    self._finish(record, job.result())
                except PaveError as error:
                    failures.append(f"{record.id}: {error}")
                done += 1
                if progress:
                    progress(done, len(clips))
        if failures:
            more = f" (and {len(failures) - 3} more)" if len(failures) > 3 else ""
            raise RecordError(
                f"{len(failures)} of {len(clips)} clips cannot be used: "
                f"{'; '.join(failures[:3])}{more}"
            )
        return PrecomputeReport(len(todo), len(clips) - len(todo))

    def _visual(self, record: Record) -> Mapping[str, Tensor]:
        """What is kept of a clip's frames: views of the mapped file, read from the disk where they are used."""
        key = self._visual_key(record)
        tensors = self.cache.get(key)
        if tensors is None:
            self._finish(record, read_frames(record.video, self.sampling))
            tensors = self.cache.get(key) or {}
        return tensors

    def visual_key(self, video: str) -> str:
        """Where the visual tokens of a video are kept.

        Raises:
            MediaError: If the video cannot be read.
        """
        return self._remember(("", video), lambda: self.cache.key(video, self._visual_settings))

    def make_visual(self, video: str, frames: Frames | None = None) -> None:
        """Run the tower over a video's frames, and keep what it gives.

        Args:
            video: The video.
            frames: Its frames, where they have been read already.

        Raises:
            MediaError: If the video cannot be read.
        """
        clip = self.base.clip(frames or read_frames(video, self.sampling))
        tensors = _pack_visual(clip, self.base.visual([clip])[0])
        self.cache.put(
            self.visual_key(video),
            tensors,
            label=self.visual_label,
            content=self.cache.content(video),
        )

    @property
    def visual_label(self) -> str:
        """What the cache calls the visual tokens."""
        return f"visual/{self.base.name}"

    def _missing(self, record: Record) -> bool:
        return not self.cache.contains(self._visual_key(record)) or bool(
            self._missing_channels(record)
        )

    def _missing_channels(self, record: Record) -> list[str]:
        return [
            name
            for name in self._here(record)
            if not self.cache.contains(self._channel_key(record, name))
        ]

    def _here(self, record: Record) -> list[str]:
        """Names whose channel the record has."""
        return [
            name for name, encoder in self.encoders.items() if encoder.channel in record.channels
        ]

    def _read(self, record: Record) -> Frames | None:
        """All that needs media: encode missing channels, and decode frames unless the visual tokens are there."""
        for name in self._missing_channels(record):
            self._encode(record, name)
        return (
            None
            if self.cache.contains(self._visual_key(record))
            else read_frames(record.video, self.sampling)
        )

    def _encode(self, record: Record, name: str) -> Tokens | None:
        encoder = self.encoders[name]
        return encode_cached(self.cache, encoder, record.channels[encoder.channel])

    def _finish(self, record: Record, frames: Frames | None) -> None:
        """Run the tower where there are frames, and keep what it gives."""
        if frames is not None:
            self.make_visual(record.video, frames)

    def _visual_key(self, record: Record) -> str:
        return self.visual_key(record.video)

    def _channel_key(self, record: Record, name: str) -> str:
        media = record.channels[self.encoders[name].channel]
        return self._remember(
            (name, repr(media)), lambda: cache_key(self.cache, self.encoders[name], media)
        )

    def _remember(self, what: tuple[str, str], make: Callable[[], str]) -> str:
        """A key, made once a run: making it may hash a large file."""
        if what not in self._keys:
            self._keys[what] = make()
        return self._keys[what]


def digests_of(base: Base, cache: TokenCache) -> list[str]:
    """Digests of a base's language model and tower, without loading a tower that the cache knows.

    A run and an evaluation are bound to them: a fine-tuned base has the fingerprint of the base
    that it was made from.
    """
    return [language_digest(base), _known_digest(base, cache)]


def _known_digest(base: Base, cache: TokenCache) -> str:
    """The tower's digest; for a base loaded without its tower, the one that its files gave before, as the cache remembers it.

    The first time there is nothing to remember: then the tower is loaded, which it has to be anyway
    to fill the cache. A tower in memory is always looked at itself, because it may have been
    changed since it was loaded.
    """
    if base.origin is None or base.tower_loaded:
        return tower_digest(base)
    identity = base.origin.identity()
    note = cache.key(identity.encode(), {"kind": "tower digest"})
    known = cache.get(note) if identity else None
    if known is not None:
        return bytes(known["digest"].tolist()).decode()
    base.load_tower()
    digest = tower_digest(base)
    if identity:
        cache.put(
            note,
            {"digest": torch.tensor(list(digest.encode()), dtype=torch.uint8)},
            label="digest of a base",
        )
    return digest


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Record], Any], items: Sequence[Record], ahead: int
) -> Iterable[tuple[Record, Future[Any]]]:
    """Each item with its running job, in order, with at most `ahead` jobs started and not yet taken (frames are big)."""
    jobs = deque(pool.submit(work, item) for item in items[:ahead])
    for position, item in enumerate(items):
        job = jobs.popleft()
        if position + ahead < len(items):
            jobs.append(pool.submit(work, items[position + ahead]))
        yield item, job


def _pack_visual(clip: Clip, visual: Visual) -> dict[str, Tensor]:
    """A clip's small inputs and its visual tokens as plain tensors."""
    tensors = {
        "tokens": visual.tokens,
        "times": clip.times,
        "layout": torch.tensor(astuple(visual.layout)),
        "frames": torch.tensor([clip.frames]),
        "text": torch.tensor(list(clip.text.encode()), dtype=torch.uint8),
    }
    if visual.query is not None:
        tensors["query"] = visual.query
    tensors |= {f"extra.{level}": extra for level, extra in enumerate(visual.extra)}
    # As float64, which a cache never narrows: these are not tokens but seconds and the like.
    small = {name: value for name, value in clip.pixels.items() if not name.startswith("pixel")}
    return tensors | {
        f"input.{name}": value.double() if value.is_floating_point() else value
        for name, value in small.items()
    }


def _unpack_clip(tensors: Mapping[str, Tensor]) -> Clip:
    """The small part of what `_pack_visual` makes."""
    small = {
        name.removeprefix("input."): value
        for name, value in tensors.items()
        if name.startswith("input.")
    }
    inputs = {
        name: value.float() if value.is_floating_point() else value for name, value in small.items()
    }
    return Clip(
        inputs, tensors["times"], bytes(tensors["text"].tolist()).decode(), int(tensors["frames"])
    )


def _unpack_visual(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Visual:
    """The tokens of what `_pack_visual` makes, in the base's type, whatever the cache keeps them in."""
    levels = sum(name.startswith("extra.") for name in tensors)
    layout = Layout(*(int(number) for number in tensors["layout"]))
    extra = tuple(tensors[f"extra.{level}"].to(dtype) for level in range(levels))
    query = tensors["query"].to(dtype) if "query" in tensors else None
    return Visual(tensors["tokens"].to(dtype), layout, query, extra)
