"""Opening a media file with PyAV: one place where FFmpeg's many errors become one `MediaError` with one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.media.whole import must_be_whole

# FFmpeg would draw a text file as ANSI art and follow playlists to other files or hosts: neither is
# a clip.
NOT_MEDIA = {"tty", "concat", "hls", "dash", "lavfi", "ffmetadata", "bin", "xbin", "adf", "idf"}
_TRACKS = {
    "video": "a cover picture",
    "audio": "sound",
    "subtitle": "subtitles",
    "data": "data",
    "attachment": "attachments",
}


@contextmanager
def open_media(path: str | Path) -> Iterator[InputContainer]:
    """Open a local media file for reading and turn any FFmpeg error inside the block into a `MediaError`.

    Args:
        path: A file on this machine. Network addresses are not followed.

    Yields:
        The open container; closed when the block ends.

    Raises:
        MediaError: If the file is missing, empty, no media file, truncated, or breaks while it is
            read inside the block.
    """
    file = Path(path)
    _must_be_file(file)
    must_be_whole(file)
    step = "opened"
    try:
        with av.open(
            str(file), options={"protocol_whitelist": "file"}, metadata_errors="replace"
        ) as container:
            if NOT_MEDIA & set(container.format.name.split(",")):
                raise MediaError(
                    f"{file}: not a media file (looks like text or a playlist); give a video or "
                    "sound file"
                )
            step = "decoded"
            yield container
    except (av.error.FFmpegError, EOFError) as error:
        raise MediaError(f"{file}: {_reason(error, step)}") from error


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first moving picture of the file, or None (cover art of a sound file is a video stream to FFmpeg, not to us)."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The first sound track of the file, or None."""
    return next(iter(container.streams.audio), None)


def must_decode(container: InputContainer, stream: Stream) -> None:
    """Refuse a track that nothing here can decode: PyAV gives such a one no codec, whatever its type hints say.

    Raises:
        MediaError: If there is no decoder for it.
    """
    if stream.codec_context is None:
        kind = "picture" if stream.type == "video" else "sound"
        raise MediaError(
            f"{container.name}: the codec of its {kind} (track {stream.index}) is unknown to this "
            "FFmpeg, so it cannot be "
            "decoded; convert it to H.264 + AAC"
        )


def other_tracks(container: InputContainer) -> str:
    """What a file without a moving picture does hold, for messages: "only sound and subtitles", "nor any other track".

    Of the video streams only cover art is left by then.
    """
    kinds = dict.fromkeys(_TRACKS.get(stream.type, "unknown data") for stream in container.streams)
    return f"only {' and '.join(kinds)}" if kinds else "nor any other track"


def packets(container: InputContainer, *streams: Stream) -> Iterator[Packet[Stream]]:
    """The packets of some streams in file order, each stream's empty one that flushes its decoder last.

    Theora and Flash files hold empty packets that mean "the same again"; PyAV would take one for
    the end, so they are left out.
    """
    for packet in container.demux(*streams):
        if packet.size or packet.pts is None:
            yield packet


def _must_be_file(file: Path) -> None:
    """Say plainly what stands in the way before FFmpeg gets to see the path."""
    if os.path.isdir(file):
        raise MediaError(f"{file}: is a folder, a media file is needed here")
    if not os.path.isfile(file):
        raise MediaError(f"{file}: no such file; check the path")
    if file.stat().st_size == 0:
        raise MediaError(f"{file}: the file is empty (0 bytes); copy it again")


def _reason(error: Exception, step: str) -> str:
    """FFmpeg's words, with those that everybody meets explained."""
    if isinstance(error, av.error.InvalidDataError):
        cause = (
            "not a media file, or cut off before its index"
            if step == "opened"
            else "damaged or cut off"
        )
        return f"cannot be {step} ({cause}); copy or convert it again"
    if isinstance(error, (av.error.DecoderNotFoundError, av.error.DemuxerNotFoundError)):
        return "is in a format this FFmpeg cannot decode; convert it to H.264 + AAC"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be {step} ({words}); check the file or convert it to H.264 + AAC"
