"""Talks: several turns, with any number of clips and pictures in any of them.

The whole talk is read anew for each answer, so an answer is what it would be in a first call with
the same messages. What frozen parts make of clips and pictures (tower, encoders) is kept: it is
most of the work, and never depends on what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pave.answer.asking import Media, look
from pave.answer.generation import decode
from pave.answer.layout import parts_of
from pave.answer.messages import ChatTurn, ImagePart, Part, VideoPart, turns_of
from pave.answer.model import AnsweringModel
from pave.answer.questions import Questions, questions_about
from pave.answer.sampling import Sampling
from pave.answer.streaming import stream
from pave.answer.thinking import MARK, shown
from pave.answer.written import Piece, Shown, SpokenTurn
from pave.bases import Base
from pave.bases.inputs import FrameWord
from pave.bases.pictures import check_pictures, join_pictures, see, visual_marks
from pave.bases.prompt import ChatFormat
from pave.bases.visual import Clip, Layout, Visual
from pave.data import ClipFeatures
from pave.media import Frames
from pave.patches.gates import closed_gates, muted, named_apart
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
    inputs, chat = inputs_of(model, turns, memory)
    asked = chat.style.ask  # it may begin the thinking
    answers = []
    for ids in decode(model, inputs, sampling, ends=[chat.stop_id]):
        text = model.base.decode(ids)
        if sampling.stop or MARK.search(asked + text):
            text = shown(text, sampling, asked)
        answers.append(text)
    return answers


def reply_in_pieces(
    model: AnsweringModel, turns: Sequence[ChatTurn], sampling: Sampling, memory: Memory
) -> Iterator[str]:
    """As `reply`, one answer, piece by piece while it is generated."""
    inputs, chat = inputs_of(model, turns, memory)
    return stream(model, inputs, sampling, chat)


def ask_behind(
    model: AnsweringModel,
    system: str,
    video: str | Path | Frames,
    questions: Sequence[str],
    *,
    channels: Media,
    frames: FrameWord | None,
    sampling: Sampling,
) -> list[str]:
    """As `ask`, behind a system message: each question is a talk of its own about one clip.

    For the errors see `reply`.
    """
    clip = VideoPart(video, frames, channels)
    memory: Memory = {}  # the clip is seen once
    answers: list[str] = []
    for question in questions:
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": question},
        ]
        (asked,) = turns_of(messages)
        shown_first = replace(asked, parts=(clip, *asked.parts))
        answers += reply(model, [shown_first], sampling, memory)
    return answers


def inputs_of(
    model: AnsweringModel, turns: Sequence[ChatTurn], memory: Memory
) -> tuple[dict[str, Any], ChatFormat]:
    """Arguments of `generate` for a talk, and the chat format that it is in.

    For the errors see `reply`.
    """
    base = model.base
    media = _seen_in(model, turns, memory)
    put = _put(model, list(media.values()))
    chat = put.chat or base.chat
    spoken = _spoken(put.template, turns, media)
    ids = chat.encode_talk(parts_of(base, spoken, chat, turns[0].system))
    if len(ids) > base.context:
        places = 0
        for one in media.values():
            places += one.features.visual.layout.total
        raise base.too_long(len(ids), places)
    inputs: dict[str, Any] = base.batch([ids])
    _mark_pictures(base, inputs)
    inputs |= _small_inputs(base, list(media.values()))
    inputs |= _encoded(base, list(media.values()))
    # What was said before is read anew, so the last question decides for the whole talk.
    closed = closed_gates(base, model.patches, _question(turns[-1]))
    if closed and "channels" in inputs:
        named = [named_apart(model.patches, clip) for clip in inputs["channels"]]
        inputs["channels"] = [muted(clip, closed) for clip in named]
    return inputs, chat


def _seen_in(
    model: AnsweringModel,
    turns: Sequence[ChatTurn],
    memory: Memory,
) -> dict[int, _Seen]:
    """Clips and pictures in the order of their placeholders, by the identity of their parts."""
    shown_parts = _media_of(turns)
    images = sum(isinstance(part, ImagePart) for part in shown_parts)
    if images:
        check_pictures(model.base, len(shown_parts) - images)
    media: dict[int, _Seen] = {}
    pictures = 0  # some families number them
    for part in shown_parts:
        one = _seen(model, part, images > 1, memory, pictures)
        pictures += one.picture
        media[id(part)] = one
    return media


def _mark_pictures(base: Base, inputs: dict[str, Any]) -> None:
    """Let tokens around pictures count as visual, where who sees whom depends on it."""
    types = inputs.get("mm_token_type_ids")
    if types is not None:
        marks = visual_marks(base, inputs["input_ids"])
        inputs["mm_token_type_ids"] = types.masked_fill(marks, 1)


def _small_inputs(base: Base, media: Sequence[_Seen]) -> dict[str, Tensor]:
    """Grids and seconds, a row each; pixels are left out, since all of them are tokens by now."""
    rows: dict[str, list[Tensor]] = {}
    for one in media:
        for key, tensor in one.features.clip.pixels.items():
            if key != base.family.pixels:
                rows.setdefault(key, []).append(tensor)
    joined = {}
    # The model finds the rows of all clips behind each other, as a batch has them.
    for key, tensors in rows.items():
        joined[key] = torch.cat(tensors).to(base.device)
    return joined


def _media_of(turns: Sequence[ChatTurn]) -> list[VideoPart | ImagePart]:
    """Clips and pictures in the order in which they are shown."""
    found: list[VideoPart | ImagePart] = []
    for turn in turns:
        found += [part for part in turn.parts if not isinstance(part, str)]
    return found


def _encoded(base: Base, media: Sequence[_Seen]) -> dict[str, Any]:
    """Visual and side tokens of a talk, as `generate` takes them."""
    clips: list[ClipFeatures] = []
    shots: list[Visual] = []
    for one in media:
        # Where the family sees frames as pictures, both are one list.
        if one.picture and base.family.modality != "image":
            shots.append(one.features.visual)
        else:
            clips.append(one.features)
    inputs: dict[str, Any] = {}
    if shots:
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


def _seen(
    model: AnsweringModel,
    part: Part,
    many: bool,
    memory: Memory,
    number: int,
) -> _Seen:
    """A clip or picture, looked at once in a talk.

    Args:
        model: The model.
        part: The clip or picture.
        many: Whether the talk has several pictures.
        memory: What was seen before.
        number: How many pictures stand before this part.
    """
    base = model.base
    # A patch that was off has had no tokens made, and patches decide on the number of frames.
    at_work = []
    for name, patch in model.patches.items():
        if patch.weight != 0:
            at_work.append(name)
    closely = not (many and isinstance(part, ImagePart))
    key = (id(part), tuple(at_work), base.inputs, closely)
    if key not in memory:
        if isinstance(part, ImagePart):
            clip, visual = see(base, part.image, many, number)
            found = _Seen(ClipFeatures(clip, visual), True)
        else:
            assert isinstance(part, VideoPart)
            if isinstance(part.video, ClipFeatures):  # a server keeps them over talks
                found = _Seen(part.video, False)
            else:
                found = _Seen(look(model, part.video, part.channels, part.frames), False)
        # The part too: while it is kept, nothing else has its id.
        memory[key] = (part, found)
    seen: _Seen = memory[key][1]
    return seen


def _put(model: AnsweringModel, media: Sequence[_Seen]) -> Questions:
    """How questions are put in a talk: template and chat format of the patches at work."""
    channels: dict[str, Tokens] = {}
    for one in media:
        channels |= one.features.channels
    # What is at work in a talk is what would be on one clip with all of its channels.
    blank = Visual(torch.zeros(0, model.base.hidden_dim), Layout(0, 0, 0))
    whole = ClipFeatures(Clip({}, torch.zeros(0), "", 0), blank, channels)
    return questions_about(model, whole, [])


def _spoken(
    template: str, turns: Sequence[ChatTurn], seen: Mapping[int, _Seen]
) -> list[SpokenTurn]:
    """The turns as text, every question put as the patches at work learnt it."""
    spoken: list[SpokenTurn] = []
    for turn in turns:
        pieces: list[Piece] = []
        last = _place_of_question(turn)
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


def _place_of_question(turn: ChatTurn) -> int:
    """Which part of a turn is its question: the last text."""
    last = 0
    for place, part in enumerate(turn.parts):
        if isinstance(part, str):
            last = place
    return last


def _question(turn: ChatTurn) -> str:
    """The question of a turn; empty where it is without words."""
    part = turn.parts[_place_of_question(turn)]
    return part if isinstance(part, str) else ""
