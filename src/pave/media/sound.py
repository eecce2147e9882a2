"""`read_sound`: a file's sound as float samples at one rate, placed in time by the picture."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import torch
from av.audio.stream import AudioStream
from torch import Tensor

from pave.errors import ConfigError, MediaError
from pave.files import as_path
from pave.media.container import MediaFile, open_media
from pave.media.packets import Packets, move, read_packets
from pave.media.shorter import tell_if_short
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
    path = as_path(path, MediaError, "a sound")
    if rate is not None and (not isinstance(rate, Integral) or not 1 <= rate <= FASTEST):
        raise ConfigError(f"rate={rate!r}: must be from 1 to {FASTEST:,} samples per second")
    if os.path.isdir(path):
        return None
    with open_media(path) as media:
        if media.sound is None and media.picture is None:
            raise MediaError(
                f"{path}: contains neither video nor sound, {media.other_tracks()}; use a video "
                "or sound file"
            )
        if media.sound is None:
            return None
        media.must_decode(media.sound)
        track = _track(media, media.sound, rate=rate, mono=mono)
        packets = read_packets(media)
        tell_if_short(media, packets)
        media.rewind()
        _must_not_be_long(media, media.sound, packets, track)
        moves = packets.moves(media.sound)
        heard = media.container.demux(media.sound)
        for packet, ticks in zip(heard, moves, strict=False):
            if not packet.size and packet.pts is not None:  # "the same again", no end
                continue
            if ticks:
                move(packet, ticks)
            for frame in media.sound.decode(packet):
                track.add(frame)
        wave = track.wave()
    start = 0.0
    if packets.first is not None and media.picture is not None:
        first = packets.first - packets.late
        start = track.start - float(first * (media.picture.time_base or 1))
    return Sound(torch.from_numpy(wave), track.rate, start)


def _must_not_be_long(
    media: MediaFile, stream: AudioStream, packets: Packets, track: Track
) -> None:
    """Save decoding for minutes what will be refused.

    By what the packets hold: lengths in headers are placeholders where a file came out of a pipe.
    """
    mine = (packets.tracks == stream.index) & packets.full
    seconds = float(packets.durations[mine].sum() * (stream.time_base or 1))
    channels = 1
    if not track.mono:
        channels = stream.codec_context.channels
    rate = track.rate or stream.codec_context.sample_rate
    track.limits.must_hold(media.name, seconds, rate, channels)


def _track(media: MediaFile, stream: AudioStream, *, rate: int | None, mono: bool) -> Track:
    """What will hold the sound, if that is not absurd by what the header says."""
    name = media.name
    track = Track(name, rate or 0, mono)
    own = stream.codec_context.sample_rate
    channels = stream.codec_context.channels
    # Where the sound of a broadcast begins late, its header knows neither; a frame will.
    if own and channels:
        must_be_sound(name, own, channels)
    tracks = media.container.streams.audio
    if len(tracks) > 1:
        number = tracks.index(stream) + 1
        logger.warning("%s: has %d sound tracks; number %d is used", name, len(tracks), number)
    return track
