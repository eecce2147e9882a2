"""What the frozen parts make of a clip, computed once and kept.

These are the visual tokens of the base and the tokens of each side channel. Neither the base's
tower nor the encoders ever change while a patch trains, so every epoch, every arm of a comparison
and every evaluation reads the same tokens again. A key holds the content of the media, the settings
of sampling and preprocessing, and the tower's weights; change one and the tokens are computed anew.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from torch import Tensor

from pave.bases.base import Base
from pave.bases.inputs import FrameWord
from pave.bases.pace import sampling_of
from pave.bases.visual import Clip, Visual
from pave.cache import TokenCache
from pave.channels import Encoder, cache_key, encode_cached
from pave.data.base_digests import known_tower_digest
from pave.data.clip_tensors import clip_of, tensors_of, visual_of
from pave.data.reading import Reader, reading
from pave.data.records import Record, clip_key
from pave.data.room import clip_with_room, room_for, visual_with_room, why_no_room
from pave.errors import ConfigError, PaveError, RecordError
from pave.files import PlaceError
from pave.media import Frames, Uniform, read_frames
from pave.texts import counted
from pave.tokens import Tokens

Progress = Callable[[int, int], None]

_REASONS_SHOWN = 3
_NAMES_SHOWN = 20

logger = logging.getLogger(__name__)


class UnusableClipsError(RecordError):
    """Clips that cannot be used; everything else has been read and kept.

    Args:
        reasons: Record id -> why not, of one record for each such clip.
        clips: How many clips there are.
    """

    def __init__(self, reasons: Mapping[str, str], clips: int) -> None:
        self.reasons = dict(reasons)
        self.clips = clips
        told = [f"{name}: {reason}" for name, reason in self.reasons.items()]
        shown = "; ".join(told[:_REASONS_SHOWN])
        others = list(self.reasons)[_REASONS_SHOWN:]
        if others:
            shown += f"; also {', '.join(others[:_NAMES_SHOWN])}"
        if len(others) > _NAMES_SHOWN:
            shown += f" (and {len(others) - _NAMES_SHOWN} more)"
        super().__init__(
            f"{len(told)} of {counted(clips, 'clip')} cannot be used: {shown}; repair them or "
            "remove their records (the tokens of the others are kept)"
        )


@dataclass(frozen=True)
class ClipFeatures:
    """Everything of one clip that training and evaluation need; no media, no tower.

    Attributes:
        clip: Placeholder text, times and small inputs (grids); its pixels, if it still has them,
            are not read.
        visual: The frozen base's visual tokens.
        channels: Side tokens of the channels this clip has, by the names of `Features.encoders`.
    """

    clip: Clip
    visual: Visual
    channels: Mapping[str, Tokens] = field(default_factory=dict)


@dataclass(frozen=True)
class PrecomputeReport:
    """How many clips were encoded and how many were in the token cache already."""

    computed: int
    reused: int


class Features:
    """Cached features of records.

    `precompute` fills the token cache; indexing reads it, and computes what is missing.

    Args:
        base: The frozen base.
        encoders: Name under which a model looks for the tokens (a patch's, or its channel's) -> the
            encoder that makes them from the record's media of the encoder's channel. Other channels
            of a record are left out.
        cache: Where tokens are kept.
        frames: Frames sampled evenly from each clip, or "auto" for those that the base's own
            processor takes; None takes the base's own number.
        appended: Names of `encoders` whose tokens get room behind the clip, see `pave.data.room`.

    Raises:
        ConfigError: If so many frames never fit into the base's context, or nothing can be appended
            to its visual tokens.

    Example:
        >>> encoders = {"audio": make_encoder("audio", "mel")}  # doctest: +SKIP
        >>> features = Features(base, encoders, TokenCache("tokens"))  # doctest: +SKIP
        >>> features.precompute(records, workers=2)  # doctest: +SKIP
        >>> features[records[0]].visual.tokens.shape  # doctest: +SKIP
        torch.Size([145, 576])
    """

    def __init__(
        self,
        base: Base,
        encoders: Mapping[str, Encoder],
        cache: TokenCache,
        *,
        frames: FrameWord | None = None,
        appended: Collection[str] = (),
    ) -> None:
        reason = why_no_room(base)
        if appended and reason:
            raise ConfigError(f"{reason}, so nothing can be appended to them; leave concat out")
        self.base = base
        self.encoders = dict(encoders)
        self.appended = tuple(appended)
        self.cache = cache
        self.sampling = sampling_of(base, frames)
        # A rule is keyed by all its numbers, so that it never meets a fixed number's tokens.
        taken: int | dict[str, Any]
        if isinstance(self.sampling, Uniform):
            taken = self.sampling.count
            base.check_frames(taken)
        else:  # as many as the clip asks for, which is looked at before the tower sees it
            taken = asdict(self.sampling)
        # What the key of visual tokens holds beside the content of the video.
        self._visual_settings: dict[str, Any] = {
            "kind": "visual",
            "fingerprint": base.fingerprint(),
            "settings": base.settings.model_dump(mode="json"),
            "weights": known_tower_digest(base, cache),
            "frames": taken,
        }
        if not base.inputs.native:
            self._visual_settings["inputs"] = base.inputs.model_dump(mode="json")
        if base.family.says_duration:  # older entries say the last frame's second
            self._visual_settings["clip_text"] = "duration"
        # Keys are made once a run: making one may hash a large file.
        self._visual_keys: dict[str, str] = {}
        self._channel_keys: dict[tuple[str, str], str] = {}

    def __getitem__(self, record: Record) -> ClipFeatures:
        """The features of a record's clip, from the cache where it has them."""
        tensors = self._visual(record)
        channels = {}
        for name in self._named(record):
            tokens = self._encode(record, name)
            # A clip may lack the channel that its record names: a film without a sound track.
            if tokens is not None:
                channels[name] = tokens
        clip = clip_of(tensors)
        visual = visual_of(tensors, self.base.dtype)
        if self.appended:
            # The clip may lack the channel.
            room = room_for(map(channels.get, self.appended))
            clip = clip_with_room(self.base, clip, room)
            visual = visual_with_room(visual, room)
        return ClipFeatures(clip, visual, channels)

    def clip(self, record: Record) -> Clip:
        """What the language model needs to know of a record's clip: its text, times and grid.

        The tokens stay on the disk.
        """
        if self.appended:  # how much room there is depends on the side tokens
            return self[record].clip
        return clip_of(self._visual(record))

    def precompute(
        self, records: Iterable[Record], *, workers: int = 1, progress: Progress | None = None
    ) -> PrecomputeReport:
        """Encode every clip that the token cache does not hold yet.

        Decoding and channel encoders run in processes beside the tower, which takes one clip at a
        time, so that the result never depends on which clips were missing. A clip that ends its
        process is a failure like any other. An interrupted call continues where it stopped.

        Args:
            records: Any records; clips that several share are encoded once.
            workers: Processes that decode and encode channels; with 0 this one does, and ends with
                a clip that crashes a decoder.
            progress: Called with `(done, total)` after each clip.

        Raises:
            ConfigError: If `workers` is below 0, or no process can be started.
            UnusableClipsError: If some media could not be read. Everything else has been kept.
        """
        if workers < 0:
            raise ConfigError(f"workers={workers} must be a number of processes, or 0 for none")
        # One record stands for all that share its clip.
        clips = {clip_key(record): record for record in records}
        failures: dict[str, str] = {}
        missing = self._all_missing(clips.values(), failures)
        if missing:
            found = len(clips) - len(missing)
            # Clips that were there count as done from the start.
            told = partial(_tell, progress, found, len(clips))
            failures |= self._compute(missing, workers, told)
        if failures:
            raise UnusableClipsError(failures, len(clips))
        return PrecomputeReport(len(missing), len(clips) - len(missing))

    def visual_key(self, video: str) -> str:
        """Where the visual tokens of a video are kept.

        Raises:
            MediaError: If the video cannot be read.
        """
        if video not in self._visual_keys:
            self._visual_keys[video] = self.cache.key(video, self._visual_settings)
        return self._visual_keys[video]

    def channel_key(self, record: Record, name: str) -> str:
        """Where the tokens of a record's channel are kept.

        Raises:
            MediaError: If its media cannot be read.
        """
        encoder = self.encoders[name]
        media = record.channels[encoder.channel]
        # As a text, because lists and objects cannot be keys of a dictionary.
        known = (name, repr(media))
        if known not in self._channel_keys:
            self._channel_keys[known] = cache_key(self.cache, encoder, media)
        return self._channel_keys[known]

    def make_visual(self, video: str, frames: Frames | None = None) -> None:
        """Run the tower over a video's frames, and keep what it gives.

        Args:
            video: The video.
            frames: Its frames, where they have been read already.

        Raises:
            ConfigError: If its tokens alone are longer than the base's context.
            MediaError: If the video cannot be read.
        """
        if frames is None:
            frames = read_frames(video, self.sampling)
        clip = self.base.clip(frames)
        places = clip.text.count(self.base.family.placeholder)
        if places > self.base.context:  # tokens that nothing could ever read
            raise self.base.too_long(places, places, clip.frames)
        # Alone, because rounding in a batch depends on the others in it.
        (visual,) = self.base.visual([clip])
        self.cache.put(
            self.visual_key(video),
            tensors_of(clip, visual),
            label=f"visual/{self.base.name}",
            content=self.cache.content(video),
        )

    def _visual(self, record: Record) -> Mapping[str, Tensor]:
        """What is kept of a clip's frames: views of the mapped file, read where they are used."""
        key = self.visual_key(record.video)
        tensors = self.cache.get(key)
        if tensors is None:
            self.make_visual(record.video)
            # Read back, because the cache may narrow: the first epoch must see what the next will.
            tensors = self.cache.get(key)
        if tensors is None:
            raise RecordError(
                f"{record.video}: another process removed its tokens from the cache; try again"
            )
        return tensors

    def _named(self, record: Record) -> list[str]:
        """Names whose channel the record has."""
        return [
            name for name, encoder in self.encoders.items() if encoder.channel in record.channels
        ]

    def _all_missing(self, clips: Iterable[Record], failures: dict[str, str]) -> list[Record]:
        """The clips that the cache lacks something of; those without their media are failures."""
        missing = []
        for record in clips:
            try:
                if self._is_missing(record):
                    missing.append(record)
            except PaveError as error:
                failures[record.id] = str(error)
        return missing

    def _is_missing(self, record: Record) -> bool:
        """Whether anything of a record's clip is not in the cache."""
        if not self.cache.contains(self.visual_key(record.video)):
            return True
        return bool(self._missing_channels(record))

    def _missing_channels(self, record: Record) -> list[str]:
        """Names whose tokens the record's clip should have, and the cache lacks."""
        missing = []
        for name in self._named(record):
            key = self.channel_key(record, name)
            if not self.cache.contains(key):
                missing.append(name)
        return missing

    def _compute(
        self, missing: Sequence[Record], workers: int, told: Callable[[int], None]
    ) -> dict[str, str]:
        """Make what clips lack, and tell how many are done; record id -> why that failed."""
        failures = {}
        # A thread for each process, which waits for it and writes what it gives.
        threads = max(1, workers)
        with (
            reading(self.base, self.encoders, workers) as reader,
            ThreadPoolExecutor(threads, thread_name_prefix="pave-read") as pool,
        ):
            read = partial(self._read, reader)
            # Twice the threads: while the tower works, each has its next clip at hand.
            for done, (record, job) in enumerate(_ahead(pool, read, missing, 2 * threads), 1):
                try:
                    frames = job.result()
                    if frames is not None:
                        self.make_visual(record.video, frames)
                except PlaceError:  # a full disk is no fault of the clip
                    raise
                except PaveError as error:
                    # One broken clip must not cost the hours of work on the others.
                    failures[record.id] = str(error)
                except Exception as error:  # nor one that takes too much memory
                    logger.exception("encoding %s failed", record.id)
                    failures[record.id] = unexpected(error)
                told(done)
        return failures

    def _read(self, reader: Reader, record: Record) -> Frames | None:
        """All that needs media, for a thread: encode missing channels, and decode missing frames.

        The tower, which takes the frames, runs in the main thread.
        """
        for name in self._missing_channels(record):
            encoder = reader.encoders[name]
            encode_cached(self.cache, encoder, record.channels[encoder.channel])
        if self.cache.contains(self.visual_key(record.video)):
            return None
        return reader.frames(record.video, self.sampling)

    def _encode(self, record: Record, name: str) -> Tokens | None:
        encoder = self.encoders[name]
        return encode_cached(self.cache, encoder, record.channels[encoder.channel])


def _tell(progress: Progress | None, found: int, clips: int, done: int) -> None:
    if progress is not None:
        progress(found + done, clips)


def unexpected(error: Exception) -> str:
    """What is said of a clip that an error ended which nobody foresaw: its kind and its words."""
    words = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}: {words}"


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Record], Any], items: Sequence[Record], ahead: int
) -> Iterator[tuple[Record, Future[Any]]]:
    """Each item with its running job, in order.

    At most `ahead` jobs have started and are not yet taken, because frames are big.
    """
    jobs: deque[Future[Any]] = deque()
    waiting = iter(items)
    for item in items:
        while len(jobs) < ahead and (following := next(waiting, None)) is not None:
            jobs.append(pool.submit(work, following))
        yield item, jobs.popleft()
