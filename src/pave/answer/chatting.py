"""Talks: several turns, with any number of clips and pictures in any of them.

The whole talk is read anew for each answer, so an answer is what it would be in a first call with
the same messages. What frozen parts make of clips and pictures (tower, encoders) is kept: it is
most of the work, and never depends on what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from pave.answer.asking import look
from pave.answer.generation import decode
from pave.answer.layout import Piece, Shown, SpokenTurn, parts_of
from pave.answer.messages import ChatTurn, ImagePart, Part, VideoPart
from pave.answer.model import AnsweringModel
from pave.answer.questions import questions_about
from pave.answer.sampling import Sampling
from pave.answer.streaming import stream
from pave.answer.thinking import MARK, shown
from pave.bases.pictures import check_pictures, join_pictures, see
from pave.bases.visual import Clip, Layout, Visual
from pave.data import ClipFeatures
from pave.tokens import Tokens

Memory = dict[Any, Any]
"""What was seen in a talk: filled by `reply`, and handed to it again in the next turn."""


def reply(
    model: AnsweringModel, turns: Sequence[ChatTurn], sampling: Sampling, memory: Memory
) -> list[str]:
    """`sampling.n` answers to the last turn of a talk.

    Args:
        model: The model, with the wanted patches on.
        turns: The talk; the last one is open.
        sampling: How.
        memory: What was seen in earlier turns of the same talk; empty for none.

    Raises:
        MediaError: If a clip or a picture cannot be read.
        ChannelError: If a channel is named that no patch listens to, or its tokens do not fit.
        BaseError: If the base takes no pictures.
        ConfigError: If an argument is of a wrong kind, or the talk is longer than the context.
    """
    inputs = inputs_of(model, turns, memory)
    asked = model.base.style.ask
    answers = []
    for text in map(model.base.decode, decode(model, inputs, sampling)):
        if sampling.stop or MARK.search(asked + text):
            text = shown(text, sampling, asked)
        answers.append(text)
    return answers


def reply_in_pieces(
    model: AnsweringModel, turns: Sequence[ChatTurn], sampling: Sampling, memory: Memory
) -> Iterator[str]:
    """As `reply`, one answer, piece by piece while it is generated."""
    inputs = inputs_of(model, turns, memory)
    return stream(model, inputs, sampling, model.base.style.ask)


def inputs_of(model: AnsweringModel, turns: Sequence[ChatTurn], memory: Memory) -> dict[str, Any]:
    """Arguments of `generate` for a talk; for the errors see `reply`."""
    base = model.base
    shown_parts = [part for turn in turns for part in turn.parts if not isinstance(part, str)]
    images = sum(isinstance(part, ImagePart) for part in shown_parts)
    if images:
        check_pictures(base, len(shown_parts) - images)
    seen = {id(part): _seen(model, part, images > 1, memory) for part in shown_parts}
    media = [seen[id(part)] for part in shown_parts]
    ids = base.chat.encode_talk(parts_of(base, _spoken(model, turns, seen)))
    if len(ids) > base.context:
        raise base.too_long(len(ids), sum(one.features.visual.layout.total for one in media))
    inputs: dict[str, Any] = base.batch([ids])
    small = [one.features.clip.pixels for one in media]  # pixels are left out: all are tokens
    for key in dict.fromkeys(chain.from_iterable(small)):
        if key != base.family.pixels:  # grids and seconds, a row each
            rows = [tensors[key] for tensors in small if key in tensors]
            inputs[key] = torch.cat(rows).to(base.device)
    clips = [one.features for one in media if not one.picture]
    if base.family.modality == "image":
        # Frames and pictures are one list, in the order of the placeholders.
        clips = [one.features for one in media]
    elif images:
        shots = [one.features.visual for one in media if one.picture]
        inputs["mm_encoder_outputs"] = {"image": join_pictures(base, shots)}
    if clips:
        inputs["visuals"] = [clip.visual for clip in clips]
        inputs["channels"] = [clip.channels for clip in clips]
        inputs["times"] = [clip.clip.times for clip in clips]
    return inputs


@dataclass(frozen=True)
class _Seen:
    """What frozen parts made of a clip or a picture."""

    features: ClipFeatures
    picture: bool


def _seen(model: AnsweringModel, part: Part, many: bool, memory: Memory) -> _Seen:
    """A clip or picture, looked at once in a talk."""
    base = model.base
    # A patch that was off has had no tokens made, and patches decide on the number of frames.
    at_work = tuple(name for name, patch in model.patches.items() if patch.weight != 0)
    key = (id(part), at_work, base.inputs, many and isinstance(part, ImagePart))
    if key not in memory:
        if isinstance(part, ImagePart):
            clip, visual = see(base, part.image, many)
            found = _Seen(ClipFeatures(clip, visual), True)
        else:
            assert isinstance(part, VideoPart)
            found = _Seen(look(model, part.video, part.channels, part.frames), False)
        # The part too: while it is kept, nothing else has its id.
        memory[key] = (part, found)
    seen: _Seen = memory[key][1]
    return seen


def _spoken(
    model: AnsweringModel, turns: Sequence[ChatTurn], seen: Mapping[int, _Seen]
) -> list[SpokenTurn]:
    """The turns as text, every question put as the patches at work learnt it."""
    channels: dict[str, Tokens] = {}
    for one in seen.values():
        channels |= one.features.channels
    # What is at work in a talk is what would be on one clip with all of its channels.
    blank = Visual(torch.zeros(0, model.base.hidden_dim), Layout(0, 0, 0))
    whole = ClipFeatures(Clip({}, torch.zeros(0), "", 0), blank, channels)
    template = questions_about(model, whole, []).template
    spoken: list[SpokenTurn] = []
    for turn in turns:
        pieces: list[Piece] = []
        last = max(place for place, part in enumerate(turn.parts) if isinstance(part, str))
        for place, part in enumerate(turn.parts):
            if not isinstance(part, str):
                one = seen[id(part)]
                pieces.append(Shown(one.features.clip.text, one.picture))
            elif place == last:
                pieces.append(template.replace("{question}", part))
            else:
                pieces.append(part)
        spoken.append((pieces, turn.answer))
    return spoken
