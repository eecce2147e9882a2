"""Opening a media file with PyAV; FFmpeg's many errors become one `MediaError` of one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.error
import torch
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from pave.errors import MediaError
from pave.files import regular_file
from pave.media.archive import MEMBER, as_file, with_archive
from pave.media.formats import WHITELIST
from pave.media.limits import PIXELS, limit, must_fit
from pave.media.riff import is_animated_webp
from pave.media.whole import must_be_whole, must_hold_samples

_BOUNDARY = 256  # bytes at most that announce a picture of MJPEG over HTTP
_TRACKS = {
    "video": "a cover picture",
    "audio": "sound",
    "subtitle": "subtitles",
    "data": "data",
    "attachment": "attachments",
}


@dataclass
class MediaFile:
    """A media file that is whole and of a known format, open for reading; made by `open_media`.

    Attributes:
        name: The path as the user gave it, for messages.
        file: The path that is read.
        options: FFmpeg's, for opening it.
        container: As PyAV opened it; it stands at the first packet until somebody reads.
        flags: What FFmpeg says of the container's format.
        picture: The first moving picture, or None.
        sound: The sound track that is heard, or None: the first marked as default, else the first.
    """

    name: str
    file: str
    options: dict[str, str]
    container: InputContainer = field(init=False)
    flags: Flags = field(init=False)
    picture: VideoStream | None = field(init=False)
    sound: AudioStream | None = field(init=False)

    def begin(self) -> None:
        """Open the file and stand at its first packet."""
        # With its protocol a name is a path, whatever it begins with. Titles and comments in broken
        # UTF-8 are no reason to refuse a film.
        self.container = av.open(
            f"file:{self.file}", options=self.options, metadata_errors="replace"
        )
        self.flags = Flags(self.container.format.flags)
        self.picture = _moving_picture(self.container.streams.video)
        sounds = self.container.streams.audio
        self.sound = next(iter(sounds), None)
        for sound in reversed(sounds):
            if sound.disposition & Disposition.default:
                self.sound = sound
        if self.sound is not None and self.sound.codec_context is not None:
            _own_layout(self.sound.codec_context)

    def rewind(self) -> None:
        """Stand at the first packet again; streams and decoders are new ones.

        Not every format can be sought back to its first packet, and each can be opened once more.
        """
        self.container.close()
        self.begin()

    def packets(self, *tracks: Stream) -> Iterator[Packet[Any]]:
        """The packets of some tracks, and one for each that empties its decoder."""
        end = 0  # of the last packet, in the file
        try:
            for packet in self.container.demux(*tracks):
                if packet.size and packet.pos is not None:
                    end = packet.pos + packet.size
                yield packet
        except av.error.InvalidDataError:
            left = Path(self.file).stat().st_size - end
            if self.container.format.name != "mpjpeg" or not end or left > _BOUNDARY:
                raise
            # A recording of a web camera ends with the line that announces its next picture, which
            # FFmpeg takes for damage.
            for track in tracks:
                last: Packet[Any] = Packet()
                last.stream = track
                yield last

    def shown_track(self) -> VideoStream:
        """The picture track, ready to be decoded, or a clear refusal.

        Raises:
            MediaError: If there is none, or nothing here decodes it.
        """
        if self.picture is None:
            raise MediaError(
                f"{self.name}: holds no picture track, {self.other_tracks()}; give a video file"
            )
        self.must_decode(self.picture)
        # A data loader's worker has one torch thread, a main process several: decode with as many,
        # at most 4.
        self.picture.thread_count = min(torch.get_num_threads(), 4)
        self.picture.thread_type = "AUTO"
        return self.picture

    def must_decode(self, stream: Stream) -> None:
        """Refuse a track that nothing here can decode as a whole, and pictures that are too large.

        Raises:
            MediaError: If there is no decoder for it, or a picture is above the limit of pixels.
        """
        # PyAV gives such a track no codec, whatever its type hints say.
        if stream.codec_context is None:
            kind = {"video": "picture"}.get(stream.type, "sound")
            raise MediaError(
                f"{self.name}: the codec of its {kind} (track {stream.index}) is unknown to this "
                "FFmpeg, so it cannot be decoded; convert it to H.264 + AAC"
            )
        if isinstance(stream, VideoStream):
            if stream.disposition & Disposition.dependent:
                raise MediaError(
                    f"{self.name}: its picture consists of tiles, as photos of phones (HEIC) do, "
                    "which cannot be put together here; convert it to JPEG or PNG"
                )
            if stream.codec_context.name == "webp" and is_animated_webp(Path(self.file)):
                raise MediaError(
                    f"{self.name}: is an animated WebP, which this FFmpeg cannot decode; convert "
                    "it to GIF, APNG or MP4"
                )
            must_fit(self.name, stream.codec_context.width, stream.codec_context.height)
            # A film may grow on its way: then the decoder refuses.
            stream.codec_context.options = {"max_pixels": str(limit(PIXELS))}

    def other_tracks(self) -> str:
        """What a file without a moving picture does hold: "only sound and subtitles"."""
        # Of the video streams only cover art is left by then. A dict keeps the order of the file.
        streams = self.container.streams
        kinds = dict.fromkeys(_TRACKS.get(stream.type, "unknown data") for stream in streams)
        if not kinds:
            return "nor any other track"
        return f"only {' and '.join(kinds)}"


@contextmanager
def open_media(path: str | Path) -> Iterator[MediaFile]:
    """Open a local media file for reading; any FFmpeg error inside the block is a `MediaError`.

    Args:
        path: A file on this machine. Network addresses are not followed.

    Yields:
        The open file; closed when the block ends.

    Raises:
        MediaError: If the file is missing, empty, no media file, truncated, or breaks while it is
            read inside the block.
    """
    with ExitStack() as stack:
        file = Path(path)
        name = str(file)
        if MEMBER in name:  # a clip in an archive has a file for as long as it is open
            name = with_archive(name, str)
            file = stack.enter_context(as_file(name))
        # Said plainly before FFmpeg, whose words for these are "permission denied" and the like.
        regular_file(file, MediaError, "a media file")
        options = {
            "protocol_whitelist": "file",  # an MP4 with references must not open a host or a device
            "format_whitelist": WHITELIST,
            "pattern_type": "none",  # a picture whose name holds "%d" is that picture, no sequence
        }
        promise = must_be_whole(file)
        if promise.uncounted:
            options["ignore_length"] = "1"  # of a WAV: up to the end of the file
        step = "opened"
        media = MediaFile(name, str(file), options)
        try:
            media.begin()
            try:
                must_hold_samples(file, media.container, promise)
                step = "decoded"
                yield media
            finally:
                media.container.close()
        except (av.error.FFmpegError, EOFError) as error:
            raise MediaError(f"{name}: {_reason(error, step)}") from error


def _moving_picture(tracks: Sequence[VideoStream]) -> VideoStream | None:
    """The first picture track, but no cover of a sound file, nor the still in front of a film."""
    found = None
    for track in tracks:
        if track.disposition & Disposition.attached_pic:
            continue
        found = found or track
        # An animated AVIF holds its first picture once more, for programs that show only one.
        if found.frames == 1 and track.frames > 1:
            return track
    return found


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
