"""Video, sound, pictures, folders of frames, scans."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np
from case import Case, all_of, exhaust, tell
from PIL import Image

from helpers import clips, minisets, sounds
from pave.channels import make_encoder
from pave.channels.scene3d.scene import open_scene
from pave.media import (
    At,
    Rate,
    Uniform,
    frame_times,
    probe,
    read_depth,
    read_frames,
    read_picture,
    read_sound,
    stream_frames,
)

FRAMES = 12
VIDEOS = {
    "mp4": ("libx264", "aac"),
    "mov": ("mpeg4", "pcm_s16le"),
    "mkv": ("libx264", "flac"),
    "webm": ("libvpx-vp9", "libopus"),
    "avi": ("mpeg4", "pcm_s16le"),
    "ts": ("libx264", "aac"),
    "flv": ("flv", "aac"),
    "mpg": ("mpeg2video", "mp2"),
    "ogv": ("libvpx", "libopus"),
    "gif": ("gif", ""),
}
"""Container -> codecs of picture and sound."""
SOUNDS = {
    "wav": "pcm_s16le",
    "flac": "flac",
    "mp3": "mp3",
    "ogg": "flac",
    "opus": "libopus",
    "m4a": "aac",
    "aiff": "pcm_s16be",
    "au": "pcm_s16be",
    "caf": "pcm_s16be",
    "ac3": "ac3",
}
PICTURES = ("png", "jpg", "jpeg", "webp", "bmp", "tiff")


def build_video(ending: str, folder: Path) -> None:
    """Half a second of numbered frames with a tone."""
    codec, sound_codec = VIDEOS[ending]
    frames = clips.numbered(FRAMES)
    file = folder / f"medium.{ending}"
    if not sound_codec:
        pictures = [Image.fromarray(frame) for frame in frames]
        pictures[0].save(file, save_all=True, append_images=pictures[1:])
        return
    with av.open(str(file), "w") as container:
        # One thread: the same bytes on every machine.
        picture = container.add_stream(codec, rate=25, options={"threads": "1"})
        picture.height, picture.width = frames[0].shape[:2]
        picture.pix_fmt = "yuv420p"
        sound = container.add_stream(sound_codec, rate=48000, layout="mono")
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        # PyAV turns it into the samples and blocks that the codec wants.
        tone = av.AudioFrame.from_ndarray(clips.tone(0.5, 48000)[None], "flt", "mono")
        tone.sample_rate, tone.pts, tone.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(sound.encode(tone))
        container.mux(sound.encode(None))


def build_sound(ending: str, folder: Path) -> None:
    """Half a second of two channels."""
    wave = sounds.chord(2, 24000, 48000)
    file = folder / f"medium.{ending}"
    if ending == "wav":
        sounds.wav(file, sounds.packed16(wave), 48000, 2)
        return
    sounds.encoded(file, SOUNDS[ending], "stereo", wave, 48000)


def build_picture(ending: str, folder: Path) -> None:
    """One picture, and a depth map."""
    Image.fromarray(clips.numbered(3)[2]).save(folder / f"medium.{ending}")


def build_depth(folder: Path) -> None:
    """A depth map of 16 bits."""
    Image.fromarray(np.full((48, 64), 2000, np.uint16)).save(folder / "medium.png")


def build_frames(folder: Path) -> None:
    """A folder of frames, as other tools leave it."""
    for number, picture in enumerate(clips.numbered(5)):
        ending = ("png", "jpg")[number % 2]
        Image.fromarray(picture).save(folder / f"frame_{number:04d}.{ending}")


def build_stack(folder: Path) -> None:
    """The authors' frames in one array."""
    np.save(folder / "stacked_images.npy", np.stack(clips.numbered(5)))


def build_scan(folder: Path) -> None:
    """A scan in ScanNet's layout."""
    minisets._scan(folder / "scene0000_00", 0)
    numbers = " ".join(map(str, np.eye(4).flatten()))
    (folder / "scene0000_00" / "scene0000_00.txt").write_text(f"axisAlignment = {numbers}\n")


def build_arrays(folder: Path) -> None:
    """A scan in one file."""
    np.savez(
        folder / "medium.npz",
        color=np.stack(clips.numbered(3)),
        depth=np.full((3, 16, 16), 2000, np.uint16),
        pose=np.stack([np.eye(4)] * 3),
        intrinsic=np.diag([40.0, 40.0, 1.0, 1.0]),
        times=np.arange(3.0),
    )


def read_video(file: Path) -> None:
    """All that pave asks of a video's pictures and sound."""
    all_of(
        lambda: read_frames(file, Uniform(4)),
        lambda: read_frames(file, Rate(5.0, 8)),
        lambda: read_frames(file, At([0.0, 0.3, 9.0])),
        lambda: frame_times(file),
        lambda: exhaust(stream_frames(file, Uniform(4), 2)),
        lambda: read_heard(file),
    )


def read_heard(file: Path) -> None:
    """All that pave asks of a sound."""
    all_of(
        lambda: probe(file),
        lambda: tell("info", file),
        lambda: read_sound(file),
        lambda: read_sound(file, None, mono=False),
        lambda: make_encoder("audio", "mel").encode(file),
    )


def read_one_picture(file: Path) -> None:
    """A picture alone, and as a video of one."""
    all_of(
        lambda: read_picture(file),
        lambda: probe(file),
        lambda: tell("info", file),
        lambda: read_frames(file, Uniform(2)),
    )


def read_folder(folder: Path) -> None:
    """A folder of frames."""
    all_of(
        lambda: frame_times(folder),
        lambda: tell("info", folder),
        lambda: read_frames(folder, Uniform(4)),
    )


def read_scene(source: Path) -> None:
    """Every frame of a scan."""
    scene = open_scene(source)
    all_of(*(partial(scene.read, index) for index in range(scene.count)))


def _cases() -> list[Case]:
    found = []
    media = (
        ("video", VIDEOS, build_video, read_video),
        ("sound", SOUNDS, build_sound, read_heard),
        ("picture", PICTURES, build_picture, read_one_picture),
    )
    for kind, endings, build, read in media:
        for ending in endings:
            made, reads = partial(build, ending), within(f"medium.{ending}", read)
            found.append(Case(f"media/{kind}-{ending}", made, reads))
    found.append(Case("media/depth", build_depth, within("medium.png", read_depth)))
    found.append(Case("media/frames", build_frames, read_folder))
    found.append(Case("media/stack", build_stack, read_folder))
    found.append(Case("media/scan", build_scan, within("scene0000_00", read_scene)))
    found.append(Case("media/scan-npz", build_arrays, within("medium.npz", read_scene)))
    return found


def within(name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Read what has a name in the folder of an input."""
    return lambda folder: read(folder / name)


CASES = _cases()
