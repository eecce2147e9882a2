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
from pave.media.formats import WHITELIST
from pave.media.limits import max_pixels, must_fit
from pave.media.riff import has_no_length
from pave.media.whole import must_be_whole

_PROTOCOL = "file:"
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
    options = {
        "protocol_whitelist": "file",  # an MP4 with references must not open a host or a device
        "format_whitelist": WHITELIST,
        "pattern_type": "none",  # a picture whose name holds "%d" is that picture, no sequence
    }
    if has_no_length(file):
        options["ignore_length"] = "1"  # of a WAV: up to the end of the file
    try:
        # With its protocol a name is a path, whatever it begins with. Titles and comments in broken
        # UTF-8 are no reason to refuse a film.
        with av.open(f"{_PROTOCOL}{file}", options=options, metadata_errors="replace") as container:
            _must_hold_samples(file, container)
            step = "decoded"
            yield container
    except (av.error.FFmpegError, EOFError) as error:
        raise MediaError(f"{file}: {_reason(error, step)}") from error


def _must_hold_samples(file: Path, container: InputContainer) -> None:
    """Refuse an MP4 whose index leads behind the end of the file.

    Its boxes do not show that if the last one has no length and goes on "to the end".

    Raises:
        MediaError: If the last sample of a track is not all there.
    """
    if "mp4" not in container.format.name.split(","):
        return
    size = file.stat().st_size
    # The last sample of each track is enough: a file is cut at its end.
    for stream in [*container.streams.video, *container.streams.audio]:
        entries = stream.index_entries
        if len(entries) and entries[-1].pos + entries[-1].size > size:
            raise MediaError(
                f"{file}: truncated: its index leads to byte {entries[-1].pos + entries[-1].size}, "
                f"only {size} are there; copy it again"
            )


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
    if context.is_open:  # it has been done
        return
    layout = context.layout  # frees the list when it goes, after the context has forgotten it
    if layout.nb_channels == 0:
        return
    name = layout.name
    if "+" in name:  # channels one by one: all that is known here is how many
        name = f"{layout.nb_channels} channels"
    context.layout = name


def must_decode(container: InputContainer, stream: Stream) -> None:
    """Refuse a track that nothing here can decode, and pictures that are too large.

    Raises:
        MediaError: If there is no decoder for it, or a picture is above the limit of pixels.
    """
    name = container.name.removeprefix(_PROTOCOL)
    # PyAV gives such a track no codec, whatever its type hints say.
    if stream.codec_context is None:
        kind = {"video": "picture"}.get(stream.type, "sound")
        raise MediaError(
            f"{name}: the codec of its {kind} (track {stream.index}) is unknown to this "
            "FFmpeg, so it cannot be "
            "decoded; convert it to H.264 + AAC"
        )
    if isinstance(stream, VideoStream):
        must_fit(name, stream.codec_context.width, stream.codec_context.height)
        # A film may grow on its way: then the decoder refuses.
        stream.codec_context.options = {"max_pixels": str(max_pixels())}


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
    if isinstance(error, av.error.ArgumentError) and step == "opened":  # what the whitelist answers
        return "not a media file (looks like text or a playlist); give a video or sound file"
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"cannot be {step} ({words}); check the file or convert it to H.264 + AAC"
