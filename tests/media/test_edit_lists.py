"""An MP4 may show parts of its film in any order: each frame at the time that its edit list means.

The right times are those that FFmpeg gives the frames when it decodes the whole film.
"""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from helpers.clips import mux, number_of, numbered, numbers, tone
from pave.media import Uniform, frame_times, read_frames, read_sound

X264 = {"preset": "medium", "threads": "1", "g": "12", "bf": "3", "sc_threshold": "0"}
MOVIE = 1000  # ticks a second of an edit list's durations
EMPTY = -1.0
# Parts: the second of the film at which each begins, and its seconds.
EDITS = {
    "two parts": [(0.0, 0.8), (2.4, 0.8)],
    "the same again": [(0.0, 0.8), (0.0, 0.8)],
    "the last part first": [(2.4, 0.8), (0.0, 0.8)],
    "nothing between": [(0.0, 0.8), (EMPTY, 1.0), (0.8, 0.8)],
    "a part of the middle": [(1.2, 1.6)],
}


def boxes(data: bytes) -> list[bytes]:
    found = []
    while data:
        length = int.from_bytes(data[:4], "big")
        found.append(data[:length])
        data = data[length:]
    return found


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def edited(data: bytes, lists: list[bytes]) -> bytes:
    """A file, its index at the end, with these edit lists of its tracks."""
    *rest, index = boxes(data)
    assert index[4:8] == b"moov"
    parts, left = [], list(lists)
    for part in boxes(index[8:]):
        if part[4:8] == b"trak":
            inner = [one for one in boxes(part[8:]) if one[4:8] != b"edts"]
            part = box(b"trak", inner[0], box(b"edts", left.pop(0)), *inner[1:])
        parts.append(part)
    return b"".join([*rest, box(b"moov", *parts)])


def edit_list(parts: list[tuple[float, float]], ticks: int, delay: int = 0) -> bytes:
    """Of a track whose first sample is shown at `delay` ticks."""
    rows = b""
    for begin, seconds in parts:
        start = -1 if begin == EMPTY else round(begin * ticks) + delay
        rows += struct.pack(">Iihh", round(seconds * MOVIE), start, 1, 0)
    return box(b"elst", bytes(4), struct.pack(">I", len(parts)), rows)


def decoded(path: Path) -> tuple[list[int], np.ndarray]:
    """Numbers and times of all frames, by FFmpeg alone."""
    found, times = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
            found.append(number_of(pixels.permute(2, 0, 1)))
            times.append(frame.time)
    return found, np.array(times)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("fps", [5, 25])
def test_frames_stand_where_the_edit_list_puts_them(tmp_path: Path, name: str, fps: int) -> None:
    count = 4 * fps
    ticks = [1000 * number // fps for number in range(count)]
    plain = mux(tmp_path / "a.mp4", numbered(count), ticks, [(0.0, tone(4.0))], options=X264)
    with av.open(str(plain)) as container:
        picture, sound = container.streams.video[0], container.streams.audio[0]
        bases = [round(1 / stream.time_base) for stream in (picture, sound)]
        packets = [packet for packet in container.demux(picture) if packet.size]
        delay = packets[0].pts - packets[0].dts
    lists = [edit_list(EDITS[name], bases[0], delay), edit_list(EDITS[name], bases[1])]
    clip = tmp_path / "edited.mp4"
    clip.write_bytes(edited(plain.read_bytes(), lists))
    right, times = decoded(clip)
    assert len(right) >= 8
    np.testing.assert_allclose(frame_times(clip), times - times[0], atol=2e-3)
    for wanted in (2, len(right)):
        index = np.linspace(0, len(right) - 1, wanted, dtype=int)
        assert numbers(read_frames(clip, Uniform(wanted)).pixels) == [right[i] for i in index]
    heard = read_sound(clip)
    assert heard is not None
    seconds = sum(length for _, length in EDITS[name])
    assert len(heard.samples) / 16000 == pytest.approx(seconds, abs=0.15)
