"""32 frames of ten minutes: decoding the groups of pictures that hold them, or everything.

The clip is 320 x 180 at 30 fps, H.264 as x264 makes it (a key frame every 250 frames, B-frames): a
minute is encoded and its packets are repeated ten times. Peer: one pass over all frames that keeps
the wanted ones, as a reader without an index does it, with as many decoder threads as ours. Both
give the same pixels, which is checked.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from harness import Row, in_turn

from pave.media import Uniform, read_frames

FPS, SECONDS, COPIES, COUNT = 30, 60, 10, 32
HEIGHT, WIDTH = 180, 320


def pictures() -> Iterator[npt.NDArray[np.uint8]]:
    """A bright square on a wall that scrolls: motion everywhere, as in a hand-held film."""
    wall = np.random.default_rng(0).integers(
        0, 200, (HEIGHT // 8, WIDTH // 8 + 200, 3), dtype=np.uint8
    )
    wall = wall.repeat(8, 0).repeat(8, 1)
    for number in range(FPS * SECONDS):
        picture = wall[:, number : number + WIDTH].copy()
        row, column = (
            int(HEIGHT / 2.5 * (1 + wave)) for wave in (np.sin(number / 20), np.cos(number / 33))
        )
        picture[row : row + 60, column : column + 60] = 255
        yield picture


def encoded(path: Path) -> Path:
    """One minute in x264's "veryfast" preset."""
    with av.open(str(path), "w") as out:
        track = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "threads": "1"})
        track.width, track.height, track.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures():
            out.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(track.encode(None))
    return path


def repeated(source: Path, target: Path) -> Path:
    """The stream of `source` over and over, packets copied as they are."""
    with av.open(str(source)) as film, av.open(str(target), "w") as out:
        track = film.streams.video[0]
        copy = out.add_stream_from_template(track)
        packets = [packet for packet in film.demux(track) if packet.size]
        data = [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in packets]
        length, tick = FPS * SECONDS, packets[0].time_base
        step = round(1 / (FPS * tick))
        for number in range(COPIES):
            for content, pts, dts, key in data:
                packet = av.Packet(content)
                shift = number * length * step
                packet.stream, packet.time_base = copy, tick
                packet.pts, packet.dts, packet.is_keyframe = (
                    (pts or 0) + shift,
                    (dts or 0) + shift,
                    key,
                )
                out.mux(packet)
    return target


def all_decoded(path: Path) -> torch.Tensor:
    """`[32, 3, H, W]`, every frame of the file decoded."""
    wanted = set(np.linspace(0, FPS * SECONDS * COPIES - 1, COUNT, dtype=int).tolist())
    with av.open(str(path)) as film:
        track = film.streams.video[0]
        track.thread_count, track.thread_type = min(torch.get_num_threads(), 4), "AUTO"
        kept = [
            frame.to_ndarray(format="rgb24")
            for number, frame in enumerate(film.decode(track))
            if number in wanted
        ]
    return torch.from_numpy(np.stack(kept)).permute(0, 3, 1, 2)


def measure() -> list[Row]:
    """One row."""
    with tempfile.TemporaryDirectory() as folder:
        minute = encoded(Path(folder) / "minute.mp4")
        film = repeated(minute, Path(folder) / "film.mp4")
        ours, peer = read_frames(film, Uniform(COUNT)).pixels, all_decoded(film)
        if not torch.equal(ours, peer):
            raise SystemExit("the frames differ from those of decoding everything")
        pair = in_turn(
            lambda: read_frames(film, Uniform(COUNT)), lambda: all_decoded(film), 3, warm=False
        )
    return [
        Row.gain(
            "32 frames of 10 minutes, against decoding it all",
            pair,
            promise=3.5,
            note="same frames: checked",
        )
    ]
