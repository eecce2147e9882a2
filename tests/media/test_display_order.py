"""Frame k is the k-th that a player shows, whatever the container says of times.

The right values are the numbers that the frames spell, in the order in which a plain decoding of
the whole file with FFmpeg gives them, and arithmetic on the times they were made with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from helpers.clips import mux, number_of, numbered, numbers, tone
from pave.errors import MediaError
from pave.media import (
    At,
    Rate,
    Uniform,
    frame_rate,
    frame_times,
    probe,
    read_frames,
    read_sound,
    stream_frames,
)
from pave.media.index import in_display_order

X264 = {"preset": "medium", "threads": "1", "g": "12", "sc_threshold": "0", "bf": "3"}
OPEN = {"x264-params": "open-gop=1:keyint=12:min-keyint=12"}


def decoded(path: Path) -> list[int]:
    """The numbers of all frames, decoded from front to back by FFmpeg alone."""
    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.FFmpegError:  # its programs say so and go on
                continue
            for frame in frames:
                pixels = torch.from_numpy(frame.to_ndarray(format="rgb24"))
                found.append(number_of(pixels.permute(2, 0, 1)))
    return found


def film(path: Path, codec: str, options: dict[str, str], count: int) -> Path:
    """Numbered frames, 25 a second on the codec's own clock, as AVI and MPEG-2 need it."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25, options=options)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        for number, picture in enumerate(numbered(count)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def must_be_shown(path: Path, times: np.ndarray) -> None:
    """Every way to read gives frame k of a plain decoding, at the k-th of the times."""
    right = decoded(path)
    assert len(right) == len(times)
    np.testing.assert_allclose(frame_times(path), times, rtol=0, atol=2e-3)
    for count in (1, 2, 3, 5, 16, len(times), len(times) + 3):
        index = np.linspace(0, len(times) - 1, count, dtype=int)
        taken = read_frames(path, Uniform(count))
        assert numbers(taken.pixels) == [right[i] for i in index], count
        np.testing.assert_allclose(taken.times, times[index], rtol=0, atol=2e-3)
    for place in (len(times) // 3, len(times) - 1):
        assert numbers(read_frames(path, At([times[place] + 2e-3])).pixels) == [right[place]]
    pieces = list(stream_frames(path, Uniform(len(times)), 7))
    assert numbers(torch.cat([piece.pixels for piece in pieces])) == right


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_avi_keeps_no_times_of_display(tmp_path: Path, codec: str) -> None:
    options = X264 if codec == "libx264" else {"bf": "2", "g": "12"}
    clip = film(tmp_path / "a.avi", codec, options, 60)
    assert decoded(clip) == list(range(60))
    must_be_shown(clip, np.arange(60) / 25)
    assert numbers(read_frames(clip, Rate(5.0)).pixels) == list(range(0, 60, 5))


def encoded(codec: str, options: dict[str, str], count: int) -> tuple[list[bytes], bytes]:
    """Bare packets in order of decoding, and the codec's header."""
    context = av.CodecContext.create(codec, "w")
    context.width = context.height = 64
    context.pix_fmt, context.time_base, context.framerate = "yuv420p", Fraction(1, 25), 25
    context.options, context.thread_count = options, 1
    packets: list[bytes] = []
    for number, picture in enumerate(numbered(count)):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += [bytes(packet) for packet in context.encode(frame)]
    packets += [bytes(packet) for packet in context.encode(None)]
    return packets, bytes(context.extradata or b"")


def in_order_of_decoding(
    path: Path, codec: str, packets: list[bytes], extradata: bytes, key_every: int
) -> Path:
    """A file whose packets have but the times of decoding."""
    with av.open(str(path), "w") as container:
        track = container.add_stream(codec, rate=25)
        track.width = track.height = 64
        track.pix_fmt, track.codec_context.extradata = "yuv420p", extradata or None
        for number, data in enumerate(packets):
            packet = av.Packet(data)
            packet.stream, packet.time_base = track, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = number % key_every == 0
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_times_of_decoding_in_the_place_of_those_of_display(tmp_path: Path, suffix: str) -> None:
    packets, extradata = encoded("libx264", X264 | {"x264-params": "bframes=2"}, 48)
    clip = in_order_of_decoding(tmp_path / f"a{suffix}", "libx264", packets, extradata, 12)
    must_be_shown(clip, np.arange(48) / 25)


def test_packed_divx(tmp_path: Path) -> None:
    """Two pictures in one packet, and one of nothing behind it."""
    packets, extradata = encoded("mpeg4", {"bf": "1", "g": "9"}, 41)
    coding = [data[data.index(b"\0\0\1\xb6") + 4] >> 6 for data in packets]  # I 0, P 1, B 2
    assert 2 in coding
    nothing = b"\0\0\1\xb6" + bytes([0b01000000, 0x3F])  # a P picture that is not coded
    name = b"\0\0\1\xb2DivX503b1393p"
    packed: list[bytes] = []
    for kind, data in zip(coding, packets, strict=True):
        if kind == 2:
            packed[-1] += data
            packed.append(nothing)
        else:
            packed.append(data)
    packed[0] = name + packed[0]
    clip = in_order_of_decoding(tmp_path / "a.avi", "mpeg4", packed, extradata + name, 1000)
    assert decoded(clip) == list(range(41))
    must_be_shown(clip, np.arange(41) / 25)


def test_frames_without_times_and_with_those_of_others() -> None:
    order = in_display_order([1, 4, 3, 5, 2, None], 0.04, 0.04)
    np.testing.assert_allclose(order, [0.04, 0.08, 0.12, 0.16, 0.2, 0.24])
    np.testing.assert_allclose(in_display_order([None, 10, 10, 12, 12], 1, 1), [9, 10, 11, 12, 13])
    np.testing.assert_allclose(in_display_order([None, None], 1, 0.5), [0, 0.5])


def transport(path: Path, begin: float, first: int, count: int = 40, seconds: float = 1.6) -> Path:
    """40 frames and their sound in a transport stream whose clock begins anywhere."""
    ticks = [round(begin * 1000) + 40 * i for i in range(count)]
    return mux(
        path,
        numbered(count, first),
        ticks,
        sounds=[(begin, tone(seconds))],
        options=X264,
        container_options={"mpegts_copyts": "1"},
    )


@pytest.mark.parametrize(
    ("before", "behind"),
    [(0.0, 0.0), (100.0, 98.0), (3600.0, 5.0), (5.0, 3600.0), (0.0, 86000.0)],
    ids=["again", "a little back", "an hour back", "an hour ahead", "a day ahead"],
)
def test_clocks_that_jump(tmp_path: Path, before: float, behind: float) -> None:
    """Two recordings in one file: the second follows the first, whatever its clock says."""
    clip = tmp_path / "both.ts"
    parts = [
        transport(tmp_path / "1.ts", before, 0),
        transport(tmp_path / "2.ts", behind, 40),
    ]
    clip.write_bytes(b"".join(part.read_bytes() for part in parts))
    times = frame_times(clip)
    # The second part begins where picture and sound of the first have ended; AAC's last packet ends
    # up to 128 ms later.
    gap = times[40] - times[39]
    assert 0.039 < gap < 0.2
    must_be_shown(clip, np.append(np.arange(40), np.arange(40) + 39 + gap * 25) / 25)
    info = probe(clip)
    assert info.duration == pytest.approx(3.2, abs=0.3)
    assert info.video is not None and info.video.frames == 80
    assert info.video.fps == pytest.approx(25, abs=2)
    sound = read_sound(clip)
    assert sound is not None and len(sound.samples) / 16000 == pytest.approx(3.2, abs=0.3)
    assert sound.start == pytest.approx(0, abs=0.1)


def test_a_hole_in_the_sound_is_no_jump_of_the_clock(tmp_path: Path) -> None:
    ticks = [500 * i for i in range(60)]
    pieces = [(0.0, tone(1.0)), (25.0, tone(1.0))]
    clip = mux(tmp_path / "hole.ts", numbered(60), ticks, sounds=pieces, options=X264)
    must_be_shown(clip, np.asarray(ticks) / 1000)
    sound = read_sound(clip)
    assert sound is not None and len(sound.samples) / 16000 == pytest.approx(26, abs=0.2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pictures_an_hour_apart_are_meant(tmp_path: Path, suffix: str) -> None:
    ticks = [3_600_000 * i for i in range(8)]
    clip = mux(tmp_path / f"lapse{suffix}", numbered(8), ticks, options=X264)
    must_be_shown(clip, np.arange(8) * 3600.0)


def cut(source: Path, out: Path, key: int, *, more: int = 0) -> Path:
    """A copy of the packets from a key frame on, as editors cut without encoding."""
    with av.open(str(source)) as given, av.open(str(out), "w") as made:
        track = made.add_stream_from_template(given.streams.video[0])
        keys = 0
        for packet in given.demux(video=0):
            keys += packet.is_keyframe
            if packet.size and keys > key:
                more -= 1
                if more < 0:
                    packet.stream = track
                    made.mux(packet)
    return out


PYRAMID = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:b-pyramid=strict:b-adapt=0:bframes=5"}
X265 = {"x265-params": "log-level=0:open-gop=1:keyint=12:min-keyint=12:pools=1"}


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".mkv", "mpeg2video", {"bf": "2", "g": "12"}),
        (".ts", "mpeg2video", {"bf": "2", "g": "12"}),
        (".avi", "mpeg2video", {"bf": "2", "g": "12"}),
        (".mkv", "libx264", X264 | OPEN),
        (".ts", "libx264", X264 | OPEN),
        (".avi", "libx264", X264 | OPEN),
        (".avi", "libx264", X264 | PYRAMID),
        (".mkv", "libx265", X265),
        (".ts", "libx265", X265),
    ],
)
def test_cut_inside_an_open_group(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    """Frames before the first that decodes are not there, and not counted."""
    whole = film(tmp_path / f"whole{suffix}", codec, options, 60)
    part = cut(whole, tmp_path / f"part{suffix}", 2)
    right = decoded(part)
    assert right == list(range(right[0], 60)) and 20 < right[0] < 40
    must_be_shown(part, np.arange(len(right)) / 25)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_sound_of_an_avi_begins_with_its_picture(tmp_path: Path, codec: str) -> None:
    """FFmpeg gives reordered pictures a frame's delay; the programs that wrote the file did not."""
    clip = tmp_path / "a.avi"
    with av.open(str(clip), "w") as container:
        track = container.add_stream(codec, rate=25, options={"bf": "2", "g": "12"})
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        heard = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for number, picture in enumerate(numbered(24)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(track.encode(frame))
            samples = np.full((1, 640), 9000 * (number == 10), np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts = 16000, 640 * number
            sound.time_base = Fraction(1, 16000)
            container.mux(heard.encode(sound))
        container.mux(track.encode(None))
    assert decoded(clip) == list(range(24))
    read = read_sound(clip)
    assert read is not None
    loud = int(np.argmax(read.samples.numpy() > 0.1))
    assert read.start + loud / 16000 == pytest.approx(10 / 25, abs=2e-3)


@pytest.mark.parametrize(
    ("suffix", "codec", "options"),
    [
        (".ts", "libx264", X264),
        (".mkv", "libvpx-vp9", {"g": "12", "lag-in-frames": "16", "cpu-used": "8"}),
        (".webm", "libvpx", {"g": "12"}),
        (".mkv", "libx265", X265),
    ],
)
def test_cut_behind_a_key_frame(
    tmp_path: Path, suffix: str, codec: str, options: dict[str, str]
) -> None:
    """What is built from a picture that is not there is left out, as FFmpeg's programs do."""
    whole = film(tmp_path / f"whole{suffix}", codec, options, 60)
    part = cut(whole, tmp_path / f"part{suffix}", 1, more=3)
    right = decoded(part)
    assert right == list(range(right[0], 60)) and 15 < right[0] < 37
    must_be_shown(part, (np.asarray(right) - right[0]) / 25)


def test_sound_stands_by_the_first_picture_that_is_shown(tmp_path: Path) -> None:
    """0.5 s of sound before the first key frame, whose leading pictures are lost."""
    options = {"bf": "2", "g": "12"}
    whole = film(tmp_path / "whole.mkv", "mpeg2video", options, 48)
    sounds = [(0.0, tone(1.0))]
    part = tmp_path / "part.mkv"
    with av.open(str(whole)) as given, av.open(str(part), "w") as made:
        track = made.add_stream_from_template(given.streams.video[0])
        heard = made.add_stream("pcm_s16le", rate=16000, layout="mono")
        samples = np.asarray(sounds[0][1] * 32767, np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        made.mux(heard.encode(frame))
        keys = 0
        for packet in given.demux(video=0):
            keys += packet.is_keyframe
            if packet.size and keys > 1:
                packet.stream = track
                made.mux(packet)
    right = decoded(part)
    sound = read_sound(part)
    assert sound is not None and sound.start == pytest.approx(-right[0] / 25, abs=2e-3)


def without_rate(path: Path) -> Path:
    """Make the header's duration of a frame a void of the same length (RFC 9559)."""
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x84")
    path.write_bytes(data[:at] + b"\xec\x86" + bytes(6) + data[at + 8 :])
    return path


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libx264"])
@pytest.mark.parametrize("strip", [without_rate, lambda path: path])
def test_recordings_of_a_browser(tmp_path: Path, codec: str, strip: Callable[[Path], Path]) -> None:
    """No duration, and no rate or a wrong one: 7 frames a second are measured."""
    ticks = np.cumsum(np.random.default_rng(0).integers(110, 176, 70)) - 110
    options = {"deadline": "realtime"} if codec != "libx264" else X264
    clip = mux(
        tmp_path / "a.mkv",
        numbered(70),
        ticks.tolist(),
        sounds=[(0.0, tone(9.0))],
        codec=codec,
        sound_codec="libopus",
        rate=16000,
        options=options,
        container_options={"live": "1"},
    )
    strip(clip)
    seconds = (ticks[-1] - ticks[0]) / 1000
    info = probe(clip)
    assert info.duration == pytest.approx(seconds + 0.14, abs=0.15)
    assert info.video is not None and info.video.frames == 70
    assert info.video.fps == pytest.approx(69 / seconds, abs=0.01)
    assert frame_rate(clip) == pytest.approx(69 / seconds, abs=0.01)


def test_sound_of_a_browser(tmp_path: Path) -> None:
    clip = mux(
        tmp_path / "a.mka",
        sounds=[(0.0, tone(3.0))],
        sound_codec="libopus",
        container_options={"live": "1"},
    )
    assert probe(clip).duration == pytest.approx(3.0, abs=0.05)


BARE = {
    "h264": "libx264",
    "hevc": "libx265",
    "mpeg1video": "mpeg1video",
    "m4v": "mpeg4",
    "mjpeg": "mjpeg",
    "obu": "libsvtav1",
}


def bare_stream(clip: Path, suffix: str, fps: Fraction) -> Path:
    """40 numbered frames without a container."""
    with av.open(str(clip), "w", format=suffix) as container:
        codec = BARE[suffix]
        track = container.add_stream(codec, rate=fps, options={"x265-params": "log-level=0"})
        track.width = track.height = 64
        track.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number, picture in enumerate(numbered(40)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, 1 / fps
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return clip


@pytest.mark.parametrize(
    ("suffix", "fps"),
    [
        ("h264", Fraction(12)),
        ("h264", Fraction(30)),
        ("hevc", Fraction(12)),
        ("hevc", Fraction(30000, 1001)),
        ("mpeg1video", Fraction(24)),
        ("m4v", Fraction(30000, 1001)),
    ],
    ids=str,
)
def test_bare_streams(tmp_path: Path, suffix: str, fps: Fraction) -> None:
    """The codec's own header tells the rate, and no container the duration."""
    clip = bare_stream(tmp_path / f"a.{suffix}", suffix, fps)
    must_be_shown(clip, np.arange(40) / float(fps))
    info = probe(clip)
    assert info.duration == pytest.approx(40 / fps)
    assert frame_rate(clip) == pytest.approx(float(fps))
    assert info.video is not None and (info.video.frames, info.video.frames_estimated) == (
        40,
        False,
    )
    assert info.video.fps == pytest.approx(float(fps))


@pytest.mark.parametrize("suffix", ["mjpeg", "obu"])
def test_a_stream_that_knows_no_rate(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    clip = bare_stream(tmp_path / f"a.{suffix}", suffix, Fraction(12))
    must_be_shown(clip, np.arange(40) / 25)
    assert caplog.text.count("25 frames per second is a guess") == 1


@pytest.mark.parametrize("end", [b"--ffmpeg\r\n", b"--ffmpeg--\r\n", b"", b"--ffm"])
def test_a_recording_of_a_web_camera(tmp_path: Path, end: bytes) -> None:
    """It ends with the line that announces the next picture, or before it."""
    clip = tmp_path / "a.mpjpeg"
    with av.open(str(clip), "w", format="mpjpeg") as container:
        track = container.add_stream("mjpeg", rate=25)
        track.width = track.height = 64
        track.pix_fmt = "yuvj420p"
        for number, picture in enumerate(numbered(40)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    data = clip.read_bytes()
    assert data.endswith(b"--ffmpeg\r\n")
    clip.write_bytes(data.removesuffix(b"--ffmpeg\r\n") + end)
    assert numbers(read_frames(clip, Uniform(40)).pixels) == list(range(40))
    np.testing.assert_allclose(frame_times(clip), np.arange(40) / 25, atol=1e-3)
    middle = data.index(b"--ffmpeg", len(data) // 2)
    clip.write_bytes(data[:middle] + bytes(8) + data[middle + 8 :])
    with pytest.raises(MediaError):
        read_frames(clip, Uniform(4))


def test_a_stream_of_av1_that_knows_its_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """AV1 may keep the length of a tick, in its sequence header (`timing_info`)."""
    silent = bare_stream(tmp_path / "silent.obu", "obu", Fraction(25))
    clip = tmp_path / "told.obu"
    with av.open(str(silent)) as given, av.open(str(clip), "w", format="obu") as made:
        stream = given.streams.video[0]
        told = "av1_metadata=tick_rate=12:num_ticks_per_picture=1"
        edit = av.bitstream.BitStreamFilterContext(told, stream)
        track = made.add_stream("libsvtav1", rate=12)
        track.width = track.height = 64
        track.pix_fmt = "yuv420p"
        for packet in given.demux(stream):
            for edited in edit.filter(packet if packet.size else None):
                edited.stream = track
                made.mux(edited)
    must_be_shown(clip, np.arange(40) / 12)
    assert not caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".flv"])
def test_frames_are_counted_where_the_header_does_not(tmp_path: Path, suffix: str) -> None:
    """Matroska and Flash note a duration and a rate, whose product is only near."""
    video = probe(film(tmp_path / f"a{suffix}", "libx264", X264, 40)).video
    assert video is not None and (video.frames, video.frames_estimated) == (40, False)


MATRICES = [
    (a, b, c, d)
    for a, b, c, d in (
        (1, 0, 0, 1),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (-1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, 1, 0),
        (0, 1, -1, 0),
        (0, -1, -1, 0),
    )
]


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_all_eight_orientations(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Point (p, q) is shown at (a p + c q, b p + d q), moved into the picture (ISO 14496-12)."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:8, :16], picture[:8, 48:], picture[24:, :16] = 255, 160, 80
    plain = mux(tmp_path / "plain.mp4", [picture] * 3)
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = matrix
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = struct.pack(">9i", *values)
    clip = tmp_path / "turned.mp4"
    clip.write_bytes(data)
    expected: dict[tuple[int, int], int] = {}
    for q in range(32):
        for p in range(64):
            expected[a * p + c * q, b * p + d * q] = int(picture[q, p, 0])
    left, top = min(x for x, _ in expected), min(y for _, y in expected)
    width, height = (32, 64) if b else (64, 32)
    right = np.zeros((height, width))
    for (x, y), value in expected.items():
        right[y - top, x - left] = value
    shown = read_frames(clip, Uniform(2)).pixels[1, 0].float().numpy()
    assert shown.shape == right.shape and np.abs(shown - right).mean() < 6
    video = probe(clip).video
    assert video is not None and (video.width, video.height) == (width, height)
    assert video.mirrored == (a * d - b * c < 0)
    stored = picture[:, ::-1, 0] if video.mirrored else picture[..., 0]
    assert np.array_equal(np.rot90(stored, video.rotation // 90), right)


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_keep_the_orientation(tmp_path: Path, suffix: str) -> None:
    """Matroska keeps it as a projection's roll and yaw, FFmpeg gives the same matrix again."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:8, :16], picture[:8, 48:], picture[24:, :16] = 255, 160, 80
    plain = bytearray(mux(tmp_path / "plain.mp4", [picture] * 2).read_bytes())
    at = plain.index(b"tkhd") + 44
    for a, b, c, d in MATRICES:
        values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
        plain[at : at + 36] = struct.pack(">9i", *values)
        given, kept = tmp_path / "given.mp4", tmp_path / f"kept{suffix}"
        given.write_bytes(plain)
        with av.open(str(given)) as source, av.open(str(kept), "w") as made:
            track = made.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = track
                    made.mux(packet)
        right = read_frames(given, Uniform(2)).pixels
        assert torch.equal(read_frames(kept, Uniform(2)).pixels, right)
        told, video = probe(given).video, probe(kept).video
        assert told is not None and video is not None
        assert (video.rotation, video.mirrored) == (told.rotation, told.mirrored)
        assert (video.width, video.height) == (told.width, told.height)


def display_orientation(mirrored: bool, flipped: bool, quarters: int) -> bytes:
    """The message of an H.264 stream that tells it (ITU-T H.264, D.1.27): flips, then a turn."""
    bits = f"0{mirrored:d}{flipped:d}{quarters << 14:016b}101000"
    payload = int(bits[:24], 2).to_bytes(3)
    message = bytes([47, len(payload)]) + payload + b"\x80"
    return b"\0\0\0\1\6" + message.replace(b"\0\0", b"\0\0\3")


def test_orientation_that_the_codec_tells(tmp_path: Path) -> None:
    """Without a container, in all sixteen ways to say it."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:8, :16], picture[:8, 48:], picture[24:, :16] = 255, 160, 80
    bare = mux(tmp_path / "a.h264", [picture] * 2).read_bytes()
    at = bare.index(b"\0\0\1\x65")
    clip = tmp_path / "told.h264"
    for number in range(16):
        mirrored, flipped, quarters = bool(number & 1), bool(number & 2), number >> 2
        clip.write_bytes(bare[:at] + display_orientation(mirrored, flipped, quarters) + bare[at:])
        right = picture[..., 0]
        if mirrored:
            right = right[:, ::-1]
        if flipped:
            right = right[::-1]
        right = np.rot90(right, quarters)
        shown = read_frames(clip, Uniform(1)).pixels[0, 0].float().numpy()
        assert shown.shape == right.shape and np.abs(shown - right).mean() < 6, number


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_as_a_video_of_one_frame(tmp_path: Path, orientation: int, suffix: str) -> None:
    """FFmpeg hands on the whole EXIF too, for which PyAV has no name."""
    picture = np.random.default_rng(0).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"photo{suffix}"
    Image.fromarray(picture).save(file, exif=exif)
    right = np.asarray(ImageOps.exif_transpose(Image.open(file)))
    shown = read_frames(file, Uniform(1)).pixels[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown, right)
