"""Opening a media file with PyAV; FFmpeg's many errors become one `MediaError` of one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import av.error
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.files import regular_file
from pave.media.riff import has_no_length
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
    """Open a local media file for reading; any FFmpeg error inside the block is a `MediaError`.

    Args:
        path: A file on this machine. Network addresses are not followed.

    Yields:
        The open container; closed when the block ends.

    Raises:
        MediaError: If the file is missing, empty, no media file, truncated, or breaks while it is
            read inside the block.
    """
    # Said plainly before FFmpeg, whose words for these are "permission denied" and the like.
    file = regular_file(path, MediaError, "a media file")
    if file.stat().st_size == 0:
        raise MediaError(f"{file}: the file is empty (0 bytes); copy it again")
    must_be_whole(file)
    step = "opened"
    # A playlist or an MP4 with references must not open a host or a device.
    local = {"protocol_whitelist": "file"}
    if has_no_length(file):
        local["ignore_length"] = "1"  # of a WAV: up to the end of the file
    try:
        # Titles and comments in broken UTF-8 are no reason to refuse a film.
        with av.open(str(file), options=local, metadata_errors="replace") as container:
            if NOT_MEDIA & set(container.format.name.split(",")):
                raise MediaError(
                    f"{file}: not a media file (looks like text or a playlist); give a video or "
                    "sound file"
                )
            step = "decoded"
            yield container
    except (av.error.FFmpegError, EOFError) as error:
        raise MediaError(f"{file}: {_reason(error, step)}") from error


def has_flag(container: InputContainer, flag: Flags) -> bool:
    """Whether FFmpeg says so of the container's format."""
    return bool(Flags(container.format.flags) & flag)


def video_stream(container: InputContainer) -> VideoStream | None:
    """The first moving picture of the file, or None."""
    for stream in container.streams.video:
        # Cover art of a sound file is a video stream to FFmpeg, not to us.
        if not stream.disposition & Disposition.attached_pic:
            return stream
    return None


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The sound track that is heard, or None: the first marked as default, else the first."""
    tracks = container.streams.audio
    marked = (track for track in tracks if track.disposition & Disposition.default)
    stream = next(marked, next(iter(tracks), None))
    if stream is not None and stream.codec_context is not None:
        _own_layout(stream.codec_context)
    return stream


def _own_layout(context: AudioCodecContext) -> None:
    """Give a sound track a channel layout that owns no memory.

    PyAV hands a layout out without copying the list of channels that an unusual one has (right
    before left, numbered channels), and frees that list with each of them: the process would end.
    """
    layout = context.layout  # frees the list when it goes, after the context has forgotten it
    if layout.nb_channels == 0:
        return
    name = layout.name
    if "+" in name:  # channels one by one: all that is known here is how many
        name = f"{layout.nb_channels} channels"
    context.layout = name


def must_decode(container: InputContainer, stream: Stream) -> None:
    """Refuse a track that nothing here can decode.

    Raises:
        MediaError: If there is no decoder for it.
    """
    # PyAV gives such a track no codec, whatever its type hints say.
    if stream.codec_context is None:
        kind = {"video": "picture"}.get(stream.type, "sound")
        raise MediaError(
            f"{container.name}: the codec of its {kind} (track {stream.index}) is unknown to this "
            "FFmpeg, so it cannot be "
            "decoded; convert it to H.264 + AAC"
        )


def other_tracks(container: InputContainer) -> str:
    """What a file without a moving picture does hold, for messages: "only sound and subtitles"."""
    # Of the video streams only cover art is left by then. A dict keeps the order of the file.
    kinds = dict.fromkeys(_TRACKS.get(stream.type, "unknown data") for stream in container.streams)
    if not kinds:
        return "nor any other track"
    return f"only {' and '.join(kinds)}"


def _reason(error: Exception, step: str) -> str:
    """FFmpeg's words, with those that everybody meets explained."""
    if isinstance(error, av.error.InvalidDataError):
        cause = "damaged or cut off"
        if step == "opened":  # an MP4's index stands at its end, unless it was made for the web
            cause = "not a media file, or cut off before its index"
        return f"cannot be {step} ({cause}); copy or convert it again"
    if isinstance(error, (av.error.DecoderNotFoundError, av.error.DemuxerNotFoundError)):
        return "is in a format this FFmpeg cannot decode; convert it to H.264 + AAC"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be {step} ({words}); check the file or convert it to H.264 + AAC"
