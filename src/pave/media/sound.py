"""`read_sound`: a file's sound as float samples at one rate, placed in time by the picture."""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.media.clock import Clock, tracks
from pave.media.container import (
    has_flag,
    must_decode,
    open_media,
    other_tracks,
    sound_stream,
    video_stream,
)
from pave.media.index import first_shown
from pave.media.limits import sound_limits
from pave.media.track import FASTEST, Track, must_be_sound

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sound:
    """A sound track.

    Attributes:
        samples: `[N]` float32, mono, about -1..1; `[channels, N]` where they were asked for apart.
        rate: Samples per second.
        start: Seconds from the clip's first frame to the first sample; negative when the sound
            starts earlier.
    """

    samples: Tensor
    rate: int
    start: float


def read_sound(path: str | Path, rate: int | None = 16000, *, mono: bool = True) -> Sound | None:
    """Decode the sound track that the file marks as default, or the first.

    Channels are averaged (so the same sound in both ears keeps its loudness) unless they are asked
    for apart. Holes in the track become silence and overlaps are cut, so that sample n is always
    `start + n / rate` seconds into the clip, to 30 ms, whatever small ones add up to. Where the
    file's clock starts anew, as in a broadcast put together from parts, the parts follow one
    another.

    Args:
        path: A video or sound file, or a folder of frames (which never has sound).
        rate: Samples per second wanted; None for those of the file, for encoders that resample in
            their own way.
        mono: Average the channels.

    Returns:
        The sound, or None when the file has no sound track: a legal missing channel.

    Raises:
        MediaError: If the file is missing, truncated, cannot be decoded, or holds neither picture
            nor sound; if the sound is too long or has too long a hole (`pave.media.limits`), has an
            absurd rate or more than 64 channels.
    """
    if rate is not None and not 1 <= rate <= FASTEST:
        raise ConfigError(f"rate={rate}: must be from 1 to {FASTEST:,} samples per second")
    if os.path.isdir(path):
        return None
    with open_media(path) as container:
        stream = sound_stream(container)
        picture = video_stream(container)
        if stream is None and picture is None:
            what = other_tracks(container)
            raise MediaError(
                f"{path}: holds neither picture nor sound, {what}; give a video or sound file"
            )
        if stream is None:
            return None
        must_decode(container, stream)
        track = _track(str(path), container, stream, rate=rate, mono=mono)
        clip_start = _decode(container, stream, picture, track)
        wave = track.wave()
    start = 0.0
    if clip_start < math.inf:
        start = track.start - clip_start
    return Sound(torch.from_numpy(wave), track.rate, start)


def _track(
    name: str, container: InputContainer, stream: AudioStream, *, rate: int | None, mono: bool
) -> Track:
    """What will hold the sound, if that is not absurd by what the header says."""
    track = Track(name, rate or 0, mono, sound_limits())
    own, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    # Where the sound of a broadcast begins late, its header knows neither; a frame will.
    if own and channels:
        must_be_sound(name, own, channels)
    if mono:
        channels = 1
    # Where a clock is all that tells the length, `Track` notices that it jumps.
    by_clock = has_flag(container, Flags.ts_discont)
    if stream.duration is not None and stream.time_base is not None and not by_clock:
        # Saves decoding for minutes what will be refused.
        seconds = float(stream.duration * stream.time_base)
        track.limits.must_hold(name, seconds, rate or own, channels)
    all_tracks = container.streams.audio
    if len(all_tracks) > 1:
        logger.warning(
            "%s: has %d sound tracks; number %d is heard",
            name,
            len(all_tracks),
            all_tracks.index(stream) + 1,
        )
    return track


def _decode(
    container: InputContainer, stream: AudioStream, picture: VideoStream | None, track: Track
) -> float:
    """Give the whole track to `track`; returns when the first picture is shown, s, or infinity."""
    first: float | None = None  # s, when the first picture is shown
    for packet in Clock(container).packets(*tracks(container, picture)):
        # Theora and Flash have empty packets that mean "the same again", which PyAV would take
        # for the end. At the end itself a packet has no time either.
        if not packet.size and packet.pts is not None:
            continue
        # Not `packet.stream_index`: it is wrong in the packets that flush a decoder.
        if packet.stream.index == stream.index:
            for frame in stream.decode(packet):
                track.add(frame)
        elif picture is not None and first is None:
            first = first_shown(picture, packet)
    if first is None:
        return math.inf
    return first
