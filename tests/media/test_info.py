"""`probe` where the header knows no length or rate, or says one that nobody counted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from helpers.clips import mux, numbered, tone
from helpers.sounds import Pipe, encoded
from pave.channels.languagebind import frame_count
from pave.media import frame_rate, probe, read_sound


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.aac", "aac", 16000),
        ("a.mp3", "libmp3lame", 16000),
        ("a.ac3", "ac3", 48000),
        ("a.eac3", "eac3", 48000),
        ("a.mp2", "mp2", 48000),
        ("a.flac", "flac", 16000),
        ("a.opus", "libopus", 48000),
    ],
)
def test_bare_sound(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    """Three seconds of silence before noise: the first moments' bit rate tells nothing."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * rate).astype(np.float32)
    wave = np.concatenate([np.zeros(3 * rate, np.float32), noise])
    file = encoded(tmp_path / name, codec, "mono", wave[None], rate)
    info = probe(file)
    assert info.duration == pytest.approx(5, abs=0.13)
    assert info.sound is not None and (info.sound.rate, info.sound.channels) == (rate, 1)
    sound = read_sound(file)
    assert sound is not None and len(sound.samples) / 16000 == pytest.approx(5, abs=0.13)


def test_mp3_without_a_length(tmp_path: Path) -> None:
    """The frame that holds it is cut off, as in a recorded radio."""
    file = encoded(tmp_path / "a.mp3", "libmp3lame", "mono", tone(4.0)[None])
    data = file.read_bytes()
    file.write_bytes(data[data.index(b"\xff\xf3", data.index(b"Info")) :])
    assert probe(file).duration == pytest.approx(4, abs=0.13)


def test_an_avi_from_a_pipe(tmp_path: Path) -> None:
    """Its header holds 2^30 frames; there are 50 at 25 a second."""
    whole = mux(tmp_path / "a.avi", numbered(50), codec="mpeg4", options={})
    pipe = Pipe()
    with av.open(str(whole)) as source, av.open(pipe, "w", format="avi") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = track
                target.mux(packet)
    file = tmp_path / "pipe.avi"
    file.write_bytes(pipe.data)
    info = probe(file)
    assert info.video is not None
    assert info.video.frames == 50 and info.video.fps == pytest.approx(25, rel=0.03)
    assert info.duration == pytest.approx(2, abs=0.1)


def test_sound_that_begins_late(tmp_path: Path) -> None:
    """The header knows neither rate nor channels, the first frame does."""
    ticks = [9000 * i for i in range(100)]
    sounds = [(850.0, np.stack([tone(1.0, 24000)] * 2))]
    file = mux(tmp_path / "a.ts", numbered(100), ticks, sounds, rate=24000, sound_codec="mp2")
    info = probe(file)
    assert info.sound is not None and (info.sound.rate, info.sound.channels) == (24000, 2)


@pytest.mark.parametrize("fps", [10, 24, 25, 30, 50])
def test_measured_rates_are_whole_where_the_film_s_is(tmp_path: Path, fps: int) -> None:
    """A rate of 30.000000000000004 would make LanguageBind take 8 frames instead of 16."""
    frames = numbered(8 * fps)
    with av.open(str(tmp_path / "a.ts"), "w") as container:
        track = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast"})
        track.height, track.width, track.pix_fmt = 64, 64, "yuv420p"
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    rate = frame_rate(tmp_path / "a.ts")
    assert rate == fps and frame_count(len(frames), rate) == 16


@pytest.mark.parametrize("codec", ["libx264", "libvpx", "libvpx-vp9"])
@pytest.mark.parametrize("begin", [0, 10_000], ids=["at once", "late"])
@pytest.mark.parametrize("heard", [False, True])
def test_the_rate_that_matroska_notes_is_not_the_film_s(
    tmp_path: Path, codec: str, begin: int, heard: bool
) -> None:
    """25 a second in the header; five in the film, which may begin anywhere on the file's clock."""
    options = {"preset": "ultrafast"} if codec == "libx264" else {"deadline": "realtime"}
    file = mux(
        tmp_path / "a.mkv",
        numbered(20),
        [begin + 200 * number for number in range(20)],
        [(begin / 1000, tone(6.0))] * heard,
        codec=codec,
        options=options,
    )
    info = probe(file)
    assert info.video is not None and info.video.frames == 20
    assert info.video.fps == pytest.approx(5) and frame_rate(file) == pytest.approx(5)
    assert info.duration == pytest.approx(6 if heard else 4, abs=0.25)
    assert info.video.frames_estimated == (codec == "libvpx")


@pytest.mark.parametrize("fps", [5, 24, 50])
def test_fragments_note_neither_count_nor_rate(tmp_path: Path, fps: int) -> None:
    """FFmpeg guesses the rate from the first of them."""
    ticks = [round(1000 * number / fps) for number in range(40)]
    # The first moments are five times as fast as the rest.
    ticks = [tick // 5 for tick in ticks[:10]] + ticks[10:]
    file = mux(
        tmp_path / "a.mp4",
        numbered(40),
        ticks,
        [(0.0, tone(40 / fps))],
        options={"preset": "ultrafast", "g": "10"},
        container_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    )
    video = probe(file).video
    assert video is not None and (video.frames, video.frames_estimated) == (40, False)
    with av.open(str(file)) as container:  # the writer moves a frame or two between fragments
        shown = [frame.time for frame in container.decode(video=0)]
    right = 39 / (max(shown) - min(shown))
    assert video.fps == pytest.approx(right, rel=1e-3) == frame_rate(file)
