"""Asking about a video: decode it, encode the channels of the active patches, generate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pave.answer.generation import generate
from pave.answer.model import AnsweringModel
from pave.answer.questions import questions_about
from pave.answer.sampling import Sampling, as_sampling
from pave.answer.thinking import MARK, shown
from pave.bases.inputs import FrameWord
from pave.bases.pace import sampling_of
from pave.channels import Source
from pave.data import ClipFeatures
from pave.errors import ChannelError, ConfigError
from pave.media import Frames, Uniform, chosen, read_frames
from pave.media.sampling import MOST
from pave.patches.parts import Part
from pave.patches.patch import Patch
from pave.tokens import Tokens

logger = logging.getLogger(__name__)

_ALONE = "is off for it and the base answers alone"

TOGETHER = 16
"""Questions that are answered at a time: each may hold a copy of the clip's keys and values."""

Media = Mapping[str, Source | Tokens]
"""Channel or patch name -> its media, or ready tokens."""


def ask(
    model: AnsweringModel,
    video: str | Path | Frames,
    questions: Sequence[str],
    *,
    channels: Media,
    frames: FrameWord | None,
    sampling: Sampling,
) -> list[str]:
    """Answers to several questions about one video; see `PatchedModel.ask`.

    Returns:
        `sampling.n` answers to each question, one question after the other.

    Raises:
        MediaError: If the video cannot be read.
        ChannelError: If a channel is named that no patch listens to, or its tokens do not fit.
        ConfigError: If an argument is of a wrong kind, no frames are asked for, or the prompt is
            longer than the model's context.
    """
    # All of them, before the first is answered.
    _check_questions(questions)
    # Also for those who come from elsewhere than the model's own `ask`.
    sampling = as_sampling(sampling)
    if sampling.n > 1 and len(questions) > 1:
        raise ConfigError(
            f"n={sampling.n} gives several answers per question; ask one question at a time"
        )
    features = look(model, video, channels, frames)
    return answers_about(model, features, questions, sampling)


def _check_questions(questions: Sequence[str]) -> None:
    """Refuse what is no list of texts.

    Raises:
        ConfigError: If it is none, or a text cannot be written as UTF-8.
    """
    # Bytes and sets are sequences of something, too.
    if not isinstance(questions, list | tuple):
        raise ConfigError(
            f"a question must be a string or a list of strings, got {type(questions).__name__}"
        )
    for question in questions:
        if not isinstance(question, str):
            raise ConfigError(f"a question must be a string, got {type(question).__name__}")
        try:
            question.encode()
        except UnicodeEncodeError as error:  # half a character
            raise ConfigError(
                f"the question {question!r} cannot be written as UTF-8; check "
                "where it was read from"
            ) from error


def answers_about(
    model: AnsweringModel,
    features: ClipFeatures,
    questions: Sequence[str],
    sampling: Sampling,
) -> list[str]:
    """Answers to questions about a clip that was looked at, as `ask` gives them."""
    base = model.base
    answers: list[str] = []
    for start in range(0, len(questions), TOGETHER):
        dialogues = [[(question, None)] for question in questions[start : start + TOGETHER]]
        put = questions_about(model, features, dialogues)
        asked = (put.chat or base.chat).style.ask  # it may begin the thinking
        (own,) = generate(model, [put], sampling)  # of the one clip
        for text in map(base.decode, own):
            # Most answers have nothing to take off, and nothing to look for.
            if sampling.stop or MARK.search(asked + text):
                text = shown(text, sampling, asked)
            answers.append(text)
    return answers


def look(
    model: AnsweringModel,
    video: str | Path | Frames,
    channels: Media,
    frames: FrameWord | None,
) -> ClipFeatures:
    """What the frozen parts make of one clip: its visual tokens, and its channels'.

    Args:
        model: The model, with the wanted patches on.
        video: A video file, a folder of frames, or frames, of which all are taken.
        channels: Channel (or patch name) -> media or tokens.
        frames: Frames to sample evenly, or "auto" for those that the base's own processor takes;
            as the patches were trained when None.

    Raises:
        MediaError: If the video cannot be read.
        ChannelError: If a channel is named that no patch listens to, or its tokens do not fit.
        ConfigError: If an argument is of a wrong kind, or there are more frames than fit.
    """
    base = model.base
    _check_media(video, channels, frames)
    # Pixels for the tower, placeholders for the prompt.
    clip = base.clip(_frames_of(model, video, frames))
    places = clip.text.count(base.family.placeholder)
    if places > base.context:  # before the encoders and the tower, which take their time
        raise base.too_long(places, places, clip.frames)
    side = encode_channels(model, video, channels)
    # What the fusions at work on this clip read.
    parts = _parts(model)
    queries = [parts[key].spec.fusion.query for key in side]
    (visual,) = base.visual([clip], want_query="pre_projector" in queries)
    # From here on the clip is tokens: pixels and media are not read again.
    return ClipFeatures(clip, visual, side)


def _check_media(
    video: str | Path | Frames,
    channels: Media,
    frames: FrameWord | None,
) -> None:
    """Refuse arguments of a wrong kind.

    Raises:
        ConfigError: If one is.
    """
    if not isinstance(video, str | Path | Frames):
        raise ConfigError(
            "a video is the path of a file or of a folder of frames, or frames "
            f"(pave.as_frames(array, fps=2)), got {type(video).__name__}"
        )
    # A mapping that is empty is no channel; a list is a mistake.
    if not isinstance(channels, Mapping):
        raise ConfigError(
            f"channels maps a channel's name to its media, got {type(channels).__name__}"
        )
    # True is an int in Python, but no number of frames; an array would compare each of its own.
    word = frames is None or (isinstance(frames, str) and frames == "auto")
    if not word and (type(frames) is not int or not 1 <= frames <= MOST):
        raise ConfigError(f'frames must be "auto" or a whole number of at least 1, got {frames!r}')


def _frames_of(
    model: AnsweringModel, video: str | Path | Frames, frames: FrameWord | None
) -> Frames:
    """The frames of a video that the base is shown."""
    base = model.base
    if isinstance(video, Frames):
        if frames is None:
            return video
        return chosen(video, sampling_of(base, frames))
    wanted = frames or _usual_frames(model)
    if wanted == "auto":
        return read_frames(video, sampling_of(base, wanted))
    return read_frames(video, Uniform(wanted))


def _usual_frames(model: AnsweringModel) -> FrameWord:
    """As many frames as the patches at work were trained on, or else the base's own number."""
    # Patches that tokens were made for elsewhere say none.
    counts = set()
    for patch in model.patches.values():
        if patch.weight != 0 and patch.config.frames is not None:
            counts.add(patch.config.frames)
    if not counts:
        return model.base.settings.frames
    # Numbers by size; the word stands for as many as it takes, and so comes last.
    order = sorted(counts, key=lambda count: (count == "auto", count))
    if len(order) > 1:
        logger.warning(
            "the patches were trained on %s frames per clip, so %s frames are used; set "
            "`frames` to choose another number",
            " and ".join(map(str, order)),
            order[-1],
        )
    return order[-1]


def _parts(model: AnsweringModel) -> dict[str, Part]:
    """The channels of all patches, by the words that mean one of them alone."""
    found = {}
    for patch in model.patches.values():
        for part in patch.parts.values():
            found[part.key] = part
    return found


def encode_channels(
    model: AnsweringModel, video: str | Path | Frames, channels: Media
) -> dict[str, Tokens]:
    """Tokens of the channels of every active patch, by `Part.key`.

    A channel that the video lacks is left out, with a logged note.

    Raises:
        ChannelError: If a channel is named that no patch listens to, there is no encoder for it, or
            the media given for it lack it.
    """
    known = set()  # words by which tokens may be given
    for key, part in _parts(model).items():
        known.add(key)
        known.add(part.channel)
    unheard = sorted(channels.keys() - known)
    if unheard:
        raise ChannelError(
            f"no patch listens to '{unheard[0]}'; available: {', '.join(sorted(known)) or 'none'}"
        )
    side: dict[str, Tokens] = {}
    for patch in model.patches.values():
        if patch.weight == 0:  # off: tokens would be encoded for nothing
            continue
        for channel, part in patch.parts.items():
            # What is given for one patch comes before what is given for its channel.
            given = channels.get(part.key, channels.get(channel))
            source = given
            # Frames alone hold no sound, and none that were not chosen.
            if source is None and part.in_video and not isinstance(video, Frames):
                source = video
            tokens = _tokens_of(model, patch, part, source)
            if tokens is None:
                then = _ALONE if len(patch.parts) == 1 else "goes without it"
                _tell_missing(video, given, channel, f"patch '{patch.name}' {then}")
                continue
            side[part.key] = tokens
    return side


def _tokens_of(
    model: AnsweringModel, patch: Patch, part: Part, source: Source | Tokens | None
) -> Tokens | None:
    """The tokens of a channel's media, which may be tokens already; None where there are none.

    Raises:
        ChannelError: If there is no encoder for media.
    """
    if source is None or isinstance(source, Tokens):
        return source
    encoder = part.encoder or model.encoder(patch.name, part.channel)  # made at first need
    if encoder is None:
        raise ChannelError(
            f"patch '{patch.name}' takes ready-made tokens; pass "
            f"channels={{'{part.channel}': Tokens(...)}}"
        )
    return encoder.encode(source)


def _tell_missing(
    video: str | Path | Frames, given: Source | Tokens | None, channel: str, then: str
) -> None:
    """Log that a video lacks a channel, and what then happens.

    Raises:
        ChannelError: If other media than the video itself was given for the channel.
    """
    if given is not None and str(given) != str(video):
        raise ChannelError(
            f"{given} has no {channel}; give a file that has it, or leave the channel out"
        )
    what = "a clip of frames" if isinstance(video, Frames) else video
    logger.warning("%s has no %s; %s", what, channel, then)
