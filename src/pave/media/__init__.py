"""Media files in, plain tensors out: timed frames, mono sound; and a small H.264 + AAC writer.

Everything goes through PyAV, whose wheel carries FFmpeg, so no system package is needed. Every way
a file can be wrong (missing, empty, text, truncated, without the stream asked for) ends in one
`pave.errors.MediaError` with one sentence.

Example:
    >>> from pave.media import Uniform, read_frames, read_sound
    >>> frames = read_frames("concert.mp4", Uniform(8))  # doctest: +SKIP
    >>> sound = read_sound("concert.mp4", rate=16000)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import lazy_names

if TYPE_CHECKING:
    from pave.media.arrays import as_frames, chosen
    from pave.media.folder import list_pictures, read_depth, read_picture
    from pave.media.frames import Frames, frame_times, read_frames, stream_frames
    from pave.media.info import MediaInfo, SoundInfo, VideoInfo, frame_rate, probe
    from pave.media.paced import Paced
    from pave.media.sampling import At, Rate, Sampling, Uniform
    from pave.media.sound import Sound, read_sound
    from pave.media.write import write_video

# Loaded when asked for: a process that only writes films starts in a third of the time without
# torch.
_HOMES = {
    "as_frames": "pave.media.arrays",
    "At": "pave.media.sampling",
    "chosen": "pave.media.arrays",
    "frame_rate": "pave.media.info",
    "frame_times": "pave.media.frames",
    "Frames": "pave.media.frames",
    "list_pictures": "pave.media.folder",
    "MediaInfo": "pave.media.info",
    "Paced": "pave.media.paced",
    "probe": "pave.media.info",
    "Rate": "pave.media.sampling",
    "read_depth": "pave.media.folder",
    "read_frames": "pave.media.frames",
    "read_picture": "pave.media.folder",
    "read_sound": "pave.media.sound",
    "Sampling": "pave.media.sampling",
    "Sound": "pave.media.sound",
    "SoundInfo": "pave.media.info",
    "stream_frames": "pave.media.frames",
    "Uniform": "pave.media.sampling",
    "VideoInfo": "pave.media.info",
    "write_video": "pave.media.write",
}

__all__ = [
    "At",
    "Frames",
    "MediaInfo",
    "Paced",
    "Rate",
    "Sampling",
    "Sound",
    "SoundInfo",
    "Uniform",
    "VideoInfo",
    "as_frames",
    "chosen",
    "frame_rate",
    "frame_times",
    "list_pictures",
    "probe",
    "read_depth",
    "read_frames",
    "read_picture",
    "read_sound",
    "stream_frames",
    "write_video",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
