"""Asking about a video: decode it, encode the channels of the active patches, generate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pave.answer.generation import generate
from pave.answer.model import AnsweringModel
from pave.answer.questions import questions_about
from pave.answer.sampling import Sampling
from pave.channels import Source
from pave.data import ClipFeatures
from pave.errors import ChannelError, ConfigError
from pave.media import Uniform, read_frames
from pave.tokens import Tokens

logger = logging.getLogger(__name__)

TOGETHER = 16
"""Questions that are answered at a time: each holds a copy of the clip's keys and values."""

Media = Mapping[str, Source | Tokens]
"""Channel or patch name -> its media, or ready tokens."""


def ask(
    model: AnsweringModel,
    video: str | Path,
    questions: Sequence[str],
    *,
    channels: Media,
    frames: int | None,
    sampling: Sampling,
) -> list[str]:
    """Answers to several questions about one video; see `PatchedModel.ask`.

    Raises:
        MediaError: If the video cannot be read.
        ChannelError: If a channel is named that no patch listens to, or its tokens do not fit.
        ConfigError: If an argument is of a wrong kind, no frames are asked for, or the prompt is
            longer than the model's context.
    """
    base = model.base
    _check(video, questions, channels, frames, sampling)
    counts = set()  # frames of a clip that the patches at work were trained on
    for patch in model.patches.values():
        # Patches that tokens were made for elsewhere say none.
        if patch.weight != 0 and patch.config.frames is not None:
            counts.add(patch.config.frames)
    if frames is None:
        frames = max(counts, default=base.settings.frames)
        if len(counts) > 1:
            logger.warning(
                "the patches at work were trained on %s frames; %d are taken, say `frames` to "
                "choose",
                " and ".join(map(str, sorted(counts))),
                frames,
            )
    clip = base.clip(read_frames(video, Uniform(frames)))
    places = clip.text.count(base.family.placeholder)
    if places > base.context:  # before the encoders and the tower, which take their time
        raise base.too_long(places, places, clip.frames)
    side = encode_channels(model, video, channels)
    queries = set()  # what the fusions at work on this clip read
    for name in side:
        fusion = model.patches[name].config.fusion
        if fusion is not None:
            queries.add(fusion.query)
    (visual,) = base.visual([clip], want_query="pre_projector" in queries)
    # From here on the clip is tokens: pixels and media are not read again.
    features = ClipFeatures(clip, visual, side)
    answers: list[str] = []
    for start in range(0, len(questions), TOGETHER):
        dialogues = [[(question, None)] for question in questions[start : start + TOGETHER]]
        put = questions_about(model, features, dialogues)
        (own,) = generate(model, [put], sampling)  # of the one clip
        answers += map(base.decode, own)
    return answers


def _check(video: Any, questions: Any, channels: Any, frames: Any, sampling: Any) -> None:
    """Say what is wrong with an argument before anything is decoded."""
    if not isinstance(video, str | Path):
        raise ConfigError(
            f"a video is the path of a file or of a folder of frames, got {type(video).__name__}"
        )
    # Bytes and sets are sequences of something, too.
    if not isinstance(questions, list | tuple):
        raise ConfigError(
            f"a question is a text, or a list of texts, got {type(questions).__name__}"
        )
    # Each of them, before the first is answered.
    for question in questions:
        if not isinstance(question, str):
            raise ConfigError(f"a question is a text, got {type(question).__name__}")
        try:
            question.encode()
        except UnicodeEncodeError as error:  # half a character
            raise ConfigError(f"the question {question!r} is no text in UTF-8") from error
    # A mapping that is empty is no channel; a list is a mistake.
    if not isinstance(channels, Mapping):
        raise ConfigError(
            f"channels maps a channel's name to its media, got {type(channels).__name__}"
        )
    # True is an int in Python, but no number of frames.
    if frames is not None and (type(frames) is not int or frames < 1):
        raise ConfigError(f"a question needs at least 1 frame, as a whole number, got {frames!r}")
    if not isinstance(sampling, Sampling):
        raise ConfigError(f"sampling must be a pave.Sampling, got {type(sampling).__name__}")


def encode_channels(model: AnsweringModel, video: str | Path, channels: Media) -> dict[str, Tokens]:
    """Tokens of every active patch by the patch's name.

    A patch whose channel is missing is left out, with a logged note.

    Raises:
        ChannelError: If a channel is named that no patch listens to, or there is no encoder for it.
    """
    known = set()  # words by which tokens may be given
    for name, patch in model.patches.items():
        if patch.config.channel is not None:
            known |= {name, patch.config.channel}
    unheard = sorted(channels.keys() - known)
    if unheard:
        raise ChannelError(
            f"no patch listens to '{unheard[0]}'; there are: {', '.join(sorted(known)) or 'none'}"
        )
    side = {}
    for name, patch in model.patches.items():
        channel = patch.config.channel
        if channel is None or patch.weight == 0:  # off: tokens would be encoded for nothing
            continue
        # What is given for one patch comes before what is given for its channel.
        found = channels.get(name, channels.get(channel))
        if found is None and patch.in_video:
            found = video
        if found is not None and not isinstance(found, Tokens):  # media
            encoder = patch.encoder or model.encoder(name)
            if encoder is None:
                raise ChannelError(
                    f"patch '{name}' takes ready-made tokens; pass "
                    f"channels={{'{channel}': Tokens(...)}}"
                )
            found = encoder.encode(found)
        if found is not None:
            side[name] = found
            continue
        logger.warning(
            "%s has no %s; patch '%s' is off for it and the base answers alone",
            video,
            channel,
            name,
        )
    return side
