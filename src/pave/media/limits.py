"""How much one file may ask for, with a setting for each limit: a variable of the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from pave.errors import ConfigError, MediaError

PIXELS = "PAVE_MAX_PIXELS"
CLIP_PIXELS = "PAVE_MAX_CLIP_PIXELS"
SOUND_SECONDS = "PAVE_MAX_SOUND_SECONDS"
SOUND_SAMPLES = "PAVE_MAX_SOUND_SAMPLES"
SOUND_HOLE = "PAVE_MAX_SOUND_HOLE"
CLIP_SECONDS = "PAVE_MAX_CLIP_SECONDS"
TOKEN_VALUES = "PAVE_MAX_TOKEN_VALUES"

DEFAULTS = {
    # 2^27 = 134 million: photos of 12,000 x 9,000 and films of 8K pass. 16,000 x 16,000 takes half
    # a minute and gigabytes for one picture.
    PIXELS: 1 << 27,
    # 6 GiB of frames held at once: a thousand of 1080p, or all of a minute of 720p.
    CLIP_PIXELS: 1 << 31,
    SOUND_SECONDS: 12 * 3600,
    # Of all channels together, 4 GiB: 18 hours as most encoders listen, 3 of stereo at 48 kHz.
    SOUND_SAMPLES: 1 << 30,
    SOUND_HOLE: 600,  # seconds; a longer one is nearly always a clock that jumps
    # For which a worker may read one clip. Twelve hours of sound take an encoder on a CPU long; a
    # decoder that hangs takes for ever.
    CLIP_SECONDS: 6 * 3600,
    # 4 GiB in one channel of a clip: two hours at 8 frames a second, 2 x 2 tokens of 3,584 features
    # each, take 3 of them.
    TOKEN_VALUES: 1 << 30,
}


def limit(name: str) -> int:
    """A limit: the variable's value where it is set, else the default.

    Raises:
        ConfigError: If that is no positive whole number.

    Example:
        >>> limit("PAVE_MAX_PIXELS")
        134217728
    """
    text = os.environ.get(name, "")
    if not text:
        return DEFAULTS[name]
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError(f"{name}={text!r}: must be a positive whole number")
    return int(text)


def must_fit(name: object, width: int, height: int) -> None:
    """Refuse pictures with more pixels than the limit, before one is decoded.

    Args:
        name: The file, for the message.
        width: Pixels.
        height: Pixels.

    Raises:
        MediaError: If they are too large.
    """
    most = limit(PIXELS)
    if width * height > most:
        raise MediaError(
            f"{name}: pictures of {width:,} x {height:,} pixels, more than the limit of {most:,}; "
            f"make them smaller or set {PIXELS}"
        )


def must_hold_clip(name: object, frames: int, width: int, height: int) -> None:
    """Refuse to hold more frames at once than memory is meant for, before one of them is read.

    Args:
        name: The file or folder, for the message.
        frames: How many are held together.
        width: Pixels of each.
        height: Pixels of each.

    Raises:
        MediaError: If they are too many for their size.
    """
    most = limit(CLIP_PIXELS)
    if frames * width * height > most:
        raise MediaError(
            f"{name}: {frames:,} frames of {width:,} x {height:,} pixels at once, more than the "
            f"limit of {most:,} pixels; take fewer frames, read them in pieces (stream_frames) or "
            f"set {CLIP_PIXELS}"
        )


@dataclass(frozen=True)
class SoundLimits:
    """How much sound one file may hold, by this process's settings.

    Attributes:
        seconds: Of the whole track, `PAVE_MAX_SOUND_SECONDS`.
        samples: Of the whole track at the rate it is read at, all channels together,
            `PAVE_MAX_SOUND_SAMPLES`.
        hole: Seconds of silence that are put where the track has none, `PAVE_MAX_SOUND_HOLE`.

    Raises:
        ConfigError: If a variable is no positive whole number.
    """

    seconds: int = field(default_factory=lambda: limit(SOUND_SECONDS))
    samples: int = field(default_factory=lambda: limit(SOUND_SAMPLES))
    hole: int = field(default_factory=lambda: limit(SOUND_HOLE))

    def must_hold(self, name: str, seconds: float, rate: int, channels: int) -> None:
        """Refuse a track that is too long.

        Args:
            name: The file, for the message.
            seconds: Of sound, as far as it is known.
            rate: Samples per second at which it is read.
            channels: That are kept.

        Raises:
            MediaError: If it is too long, or would take too much memory.
        """
        if seconds > self.seconds:
            raise MediaError(
                f"{name}: {seconds:,.0f} s of sound, more than the limit of {self.seconds:,}; cut "
                f"it or set {SOUND_SECONDS}"
            )
        samples = seconds * rate * channels
        if samples > self.samples:
            raise MediaError(
                f"{name}: {samples:,.0f} samples of sound ({seconds:,.0f} s, {rate:,} a second, "
                f"{channels} kept apart), more than the limit of {self.samples:,}; cut it or set "
                f"{SOUND_SAMPLES}"
            )

    def may_be_silent(self, name: str, seconds: float, after: float) -> None:
        """Refuse a hole that is too long.

        Args:
            name: The file, for the message.
            seconds: Without sound.
            after: Seconds of the track before it.

        Raises:
            MediaError: If it is longer than the limit.
        """
        if seconds > self.hole:
            raise MediaError(
                f"{name}: its sound has a hole of {seconds:,.1f} s after {after:,.1f} s, more "
                f"than the limit of {self.hole:,}; if its clock jumps, convert it with FFmpeg; "
                f"otherwise raise {SOUND_HOLE}"
            )
