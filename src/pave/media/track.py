"""`Track`: decoded frames of sound on one line of time, at one rate.

The file's timestamps say where a frame stands. As long as they agree with the samples counted so
far, frames are joined without a seam; where they do not, a new run of frames begins at its own
place, so that no error is carried on from one hole to the next.

A long track goes to a temporary file while it is decoded, and is mapped from there: memory holds a
piece of it, and the system takes back what has been read.
"""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from pave.errors import MediaError
from pave.files import writing
from pave.media.limits import SoundLimits

# By so many seconds timestamps and samples may differ: less is rounding (a millisecond in Matroska)
# or jitter, more is a hole or an overlap. People do not notice sound that is off by less.
TOLERANCE = 0.03
# Samples per second that are heard: below are the slowest sensors, above the fastest.
SLOWEST, FASTEST = 100, 10_000_000
MOST_CHANNELS = 64  # that FFmpeg's resampler takes
# Samples of all channels that are held in memory, 64 MB: a quarter of an hour at 16 kHz.
HELD = 2**24

Wave = npt.NDArray[np.float32]


@dataclass
class Track:
    """Collects decoded frames, of a clock that never goes back (`pave.media.packets`).

    Attributes:
        name: The file, for messages.
        rate: Samples per second wanted; 0 for those of the first frame.
        mono: Average the channels; else those of the first frame are kept.
        limits: What is too long.
        start: Seconds at which the first sample stands, on the file's clock.
    """

    name: str
    rate: int
    mono: bool = True
    limits: SoundLimits = field(default_factory=SoundLimits)
    start: float = 0.0
    _pieces: deque[tuple[int, Wave]] = field(default_factory=deque)  # first sample; [n], [ch, n]
    _at: int = 0  # the sample at which the next piece begins
    _end: int = 0  # the sample behind the last one
    _expected: float = 0.0  # s, where the next frame should stand
    _last: float | None = None  # s, the latest timestamp
    _kind: tuple[str, str, int] | None = None
    _channels: int = 1  # that are kept
    _most: float = 0.0  # s, how long a track with these may be
    _layout: str | None = None  # None keeps that of each frame
    _resampler: AudioResampler | None = None
    _held: int = 0  # numbers in the pieces
    _file: BinaryIO | None = (
        None  # what came before them: float32, the channels of a sample together
    )

    def add(self, frame: AudioFrame) -> None:
        """Take the next frame.

        Raises:
            MediaError: If the track becomes too long, or the frame is of an impossible kind.
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._kind:  # some recordings change from mono to stereo on the way
            self._begin_kind(frame)
            self._kind = kind
        stamp = frame.time
        time = self._expected  # of several frames of one timestamp only the first one is at it
        if stamp is not None:
            if self._last is None:
                # The first to be known; what came before it has no place but in front of it.
                self.start = stamp - (self._expected - self.start)
                self._expected = time = stamp
            elif stamp > self._last:
                time = stamp
            self._last = stamp
        if abs(time - self._expected) > TOLERANCE:
            self._begin_run(time)
        self._expected += frame.samples / frame.sample_rate
        length = self._expected - self.start
        if length > self._most:
            self.limits.must_hold(self.name, length, self.rate, self._channels)
        self._resample(frame)

    def wave(self) -> Wave:
        """All of it, `[n]` or `[channels, n]`; the track is empty afterwards."""
        self._finish_run()
        if not self._end:
            raise MediaError(
                f"{self.name}: has a sound track of which no sample can be decoded; convert the "
                "file again"
            )
        if self._file is not None:
            return self._mapped()
        shape = (*self._pieces[0][1].shape[:-1], self._end)
        wave = np.zeros(shape, dtype=np.float32)  # holes are silent, and take no memory yet
        while self._pieces:
            at, piece = self._pieces.popleft()
            wave[..., at : at + piece.shape[-1]] = piece
        return wave

    def _begin_kind(self, frame: AudioFrame) -> None:
        """Get ready for frames of another rate, format or number of channels."""
        channels = frame.layout.nb_channels
        must_be_sound(self.name, frame.sample_rate, channels)
        self.rate = self.rate or frame.sample_rate
        if not self.mono and self._layout is None:
            self._layout = frame.layout.name
        self._finish_run()
        if self.mono:
            channels = 1
        self._channels = channels
        most = self.limits.samples / (self.rate * channels)
        self._most = min(self.limits.seconds, most)

    def _begin_run(self, time: float) -> None:
        """Let the next frame stand at its own time: a hole before it is silent.

        Of two sounds at the same time the later one in the file is kept.
        """
        self.limits.may_be_silent(self.name, time - self._expected, self._expected - self.start)
        self._finish_run()
        self._at = max(round((time - self.start) * self.rate), 0)
        self._expected = time

    def _finish_run(self) -> None:
        """Get out of the resampler what is still on the way; the next frame meets a new one."""
        if self._resampler is None:
            return
        self._resample(None)
        self._resampler = None  # one that has been emptied takes no more
        self._expected = self.start + self._at / self.rate  # rounded to samples

    def _resample(self, frame: AudioFrame | None) -> None:
        """Bring a frame to the wanted rate and keep it."""
        if self._resampler is None:
            # Packed, because PyAV's planes of eight channels and more lead astray.
            self._resampler = AudioResampler(format="flt", layout=self._layout, rate=self.rate)
        for part in self._resampler.resample(frame):
            if part is None:  # what a resampler answers that has nothing to do
                continue
            channels = part.layout.nb_channels
            packed = np.frombuffer(memoryview(part.planes[0]), np.float32, part.samples * channels)
            piece: Wave = np.array(packed.reshape(-1, channels).T, order="C")  # [channels, n]
            if self.mono:
                piece = piece.sum(axis=0) / np.float32(channels)  # [n]
            self._pieces.append((self._at, piece))
            self._held += piece.size
            self._at += piece.shape[-1]
            self._end = max(self._end, self._at)
            if self._held > HELD:
                self._put_by()

    def _put_by(self) -> None:
        """Write what is held to the temporary file, each piece at its place; holes take no room."""
        with writing(Path(tempfile.gettempdir())):
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="pave-sound-")  # noqa: SIM115 - `wave` closes it
            while self._pieces:
                at, piece = self._pieces.popleft()
                packed = np.ascontiguousarray(piece.T)  # [n] or [n, channels]
                self._file.seek(at * (packed.nbytes // len(packed)))
                self._file.write(packed.data)
        self._held = 0

    def _mapped(self) -> Wave:
        """All of it from the temporary file, `[n]` or `[channels, n]`."""
        assert self._file is not None
        self._put_by()
        shape = (self._end, self._channels)[: 2 - self.mono]
        # Copy on write: a caller may change its samples, as it may those of a short track.
        wave: Wave = np.memmap(self._file, np.float32, "c", shape=shape)
        self._file.close()  # the map lives on, and with it the file, which has no name any more
        return wave.T


def must_be_sound(name: str, rate: int, channels: int) -> None:
    """Refuse what no sound is like, and what FFmpeg cannot bring to another rate.

    Raises:
        MediaError: If the rate is absurd or there are too many channels.
    """
    if not SLOWEST <= rate <= FASTEST:
        raise MediaError(
            f"{name}: sound of {rate:,} samples per second; from {SLOWEST} to {FASTEST:,} can be "
            "read; the header is damaged, or this is not a sound file"
        )
    if channels > MOST_CHANNELS:
        raise MediaError(
            f"{name}: sound of {channels} channels, but at most {MOST_CHANNELS} can be read; mix "
            "some of them together"
        )
