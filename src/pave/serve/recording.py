"""A clip, its channels and what patches make of it as a recording for the viewer of rerun.

| entity | what it is |
|---|---|
| `film` | an MP4 file as it is, with a mark for each of its frames |
| `frames` | the frames that the base sees |
| `sound` | the sound, as a WAV file that plays with the timeline |
| `side/PATCH/tokens` | side tokens `[S, C]` of each step |
| `side/PATCH/length` | their mean length |
| `attention/PATCH` | which side steps each frame attends, `[T_k]` |
| `residual/PATCH` | how much a patch adds to each frame, as a part of the tokens' own length |
| `scene` | depth as coloured points in the world, where `scene3d` was given |
| `cameras/N` | the other cameras at the frames' moments, where `views` were given |
| `answers/base`, `answers/patches` | each question with its answer |

All stand on one timeline, `clip`, in seconds from the clip's first frame. Answers stand at 0.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rerun as rr
import torch
from PIL import Image
from torch import Tensor

from pave.answer import Sampling
from pave.answer.asking import answers_about, look
from pave.bases.inputs import FrameWord
from pave.channels.scene3d.geometry import backproject
from pave.channels.scene3d.scene import open_scene
from pave.channels.views import cameras_of
from pave.data import ClipFeatures
from pave.errors import ConfigError
from pave.files import replace_atomically
from pave.media import At, read_frames, read_sound
from pave.model import PatchedModel
from pave.model.chosen import Chosen
from pave.serve.insight import Insight, look_into

TIMELINE = "clip"
RATE = 16000
"""Samples a second of the sound."""
SCENE_FRAMES = 16
"""Frames whose depth becomes points."""
POINTS = 20_000
"""Points of a frame; more would fill the viewer's memory and show no more."""
_QUALITY = 85  # of JPEG


@dataclass(frozen=True)
class Viewed:
    """What is recorded of a clip.

    Attributes:
        video: The film, or a folder of frames.
        media: Channel -> what was given for it.
        features: What the frozen parts make of it.
        insights: What each patch at work does on it.
        answers: Who answers -> question and answer of each question.
    """

    video: Path
    media: Mapping[str, Any]
    features: ClipFeatures
    insights: list[Insight]
    answers: dict[str, list[tuple[str, str]]]


def view(
    model: PatchedModel,
    video: Path,
    questions: Sequence[str],
    media: Mapping[str, Any],
    frames: FrameWord | None = None,
) -> Viewed:
    """Look at a clip with the patches at work, and ask both them and the base.

    Args:
        model: With the wanted patches on.
        video: The film, or a folder of frames.
        questions: Any number.
        media: Channel -> media that the film itself does not hold.
        frames: How many frames; as the patches were trained when not given.

    Raises:
        MediaError: If a file cannot be read.
        ChannelError: If a channel is named that no patch listens to.
    """
    features = look(model, video, media, frames)
    at_work = {name: one.weight for name, one in model.patches.items() if one.weight != 0}
    insights = []
    for name in at_work:
        patch = model.patches[name]
        heard = patch.tokens_in(features.channels)
        insights += [look_into(patch, features, channel) for channel in heard]
    answers = {}
    # Of the same frames, whatever the base would take alone.
    for who, weights in (("base", {}), ("patches", at_work)):
        said = answers_about(Chosen(model, weights), features, questions, Sampling())
        answers[who] = list(zip(questions, said, strict=True))
    return Viewed(video, media, features, insights, answers)


def save(viewed: Viewed, file: Path) -> None:
    """Write a recording.

    Args:
        viewed: What `view` gives.
        file: Where to, `.rrd`.

    Raises:
        ConfigError: If the file cannot be written.
    """

    def write(place: Path) -> None:
        with rr.RecordingStream("pave", make_default=False) as stream:
            stream.save(place)
            _record(stream, viewed)

    try:
        replace_atomically(file, write)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error})") from error


def _record(stream: Any, viewed: Viewed) -> None:
    _film(stream, viewed.video)
    _frames(stream, "frames", viewed.video, viewed.features.clip.times)
    _sound(stream, viewed.video, viewed.media)
    for key, tokens in viewed.features.channels.items():
        for moment, values in zip(tokens.times.tolist(), tokens.values, strict=True):
            _at(stream, moment)
            numbers = values.float().cpu().numpy()  # [S, C]
            stream.log(f"side/{key}/tokens", rr.Tensor(numbers, dim_names=("token", "feature")))
            length = float(values.float().norm(dim=-1).mean())
            stream.log(f"side/{key}/length", rr.Scalars(length))
    for insight in viewed.insights:
        _insight(stream, insight)
    if "scene3d" in viewed.media:
        _scene(stream, viewed.media["scene3d"])
    if "views" in viewed.media:
        times = viewed.features.clip.times
        for number, (path, offset) in enumerate(cameras_of(viewed.media["views"])):
            _frames(stream, f"cameras/{number}", path, times, offset)
    _at(stream, 0.0)
    for who, answers in viewed.answers.items():
        for question, answer in answers:
            stream.log(f"answers/{who}", rr.TextLog(f"{question} {answer}"))


def _at(stream: Any, seconds: float) -> None:
    """What is logged from here on happens then."""
    stream.set_time(TIMELINE, duration=seconds)


def _film(stream: Any, video: Path) -> None:
    """The file itself, where the viewer can play it."""
    if video.suffix.lower() != ".mp4":
        return
    film = rr.AssetVideo(path=video)
    stream.log("film", film, static=True)
    stamps = film.read_frame_timestamps_nanos()
    moments = stamps - stamps[0]  # from the first frame, as all of ours
    stream.send_columns(
        "film",
        [rr.TimeColumn(TIMELINE, duration=moments / 1e9)],
        rr.VideoFrameReference.columns_nanos(stamps),
    )


def _frames(stream: Any, name: str, video: Path, times: Tensor, offset: float = 0.0) -> None:
    """Pictures of a film that begins `offset` seconds into the clip."""
    own = [moment - offset for moment in times.tolist()]
    frames = read_frames(video, At(own))
    for moment, pixels in zip(frames.times.tolist(), frames.pixels, strict=True):
        _at(stream, moment + offset)
        picture = rr.EncodedImage(contents=_jpeg(pixels), media_type="image/jpeg")
        stream.log(name, picture)


def _jpeg(pixels: Tensor) -> bytes:
    """A frame `[3, H, W]`."""
    target = io.BytesIO()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.save(target, "JPEG", quality=_QUALITY)
    return target.getvalue()


def _sound(stream: Any, video: Path, media: Mapping[str, Any]) -> None:
    """What the audio channel hears, else the film's own sound."""
    heard = media.get("audio", video)
    if not isinstance(heard, str | Path):
        return  # ready-made tokens
    sound = read_sound(heard, RATE)
    if sound is None:
        return
    target = io.BytesIO()
    with wave.open(target, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        whole = (sound.samples.clamp(-1, 1) * 32767).round()
        file.writeframes(whole.to(torch.int16).numpy().tobytes())
    _at(stream, sound.start)
    stream.log("sound", rr.AssetAudio(contents=target.getvalue(), media_type="audio/wav"))


def _insight(stream: Any, insight: Insight) -> None:
    for number, moment in enumerate(insight.times):
        _at(stream, moment)
        added = float(insight.residual[number])
        stream.log(f"residual/{insight.patch}", rr.Scalars(added))
        if insight.attention is not None:
            row = insight.attention[number].numpy()  # [T_k]
            stream.log(f"attention/{insight.patch}", rr.BarChart(row))


def _scene(stream: Any, source: Any) -> None:
    """Depth of evenly spread frames as points, each with the colour of its pixel."""
    scene = open_scene(source)
    for index in scene.evenly(SCENE_FRAMES):
        frame = scene.read(index)
        depth = torch.from_numpy(frame.depth)  # [h, w] metres
        points = backproject(
            depth,
            torch.from_numpy(frame.intrinsic),
            frame.pose.double(),
        )
        colours = torch.nn.functional.interpolate(
            frame.pixels[None].float(),
            size=depth.shape,
            mode="nearest",
        )
        colours = colours[0].permute(1, 2, 0)  # [h, w, 3]
        known = depth > 0
        every = max(1, int(known.sum()) // POINTS)
        _at(stream, frame.time)
        seen = rr.Points3D(
            points[known][::every].numpy(),
            colors=colours[known][::every].byte().numpy(),
        )
        stream.log("scene", seen)
