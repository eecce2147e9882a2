"""Questions as a model gets them: put as the patches learnt it, as ids behind a clip's prefix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from pave.answer.model import AnsweringModel
from pave.bases import Base, PromptStyle
from pave.bases.prompt import ChatFormat
from pave.data import ClipFeatures
from pave.errors import ConfigError
from pave.patches.gates import closed_gates, gated_parts, muted, named_apart

Turn = tuple[str, str | None]
"""A question and its answer; the last turn's answer is open, None."""


@dataclass(frozen=True)
class Questions:
    """One clip and what is asked about it.

    Attributes:
        features: The clip's visual and side tokens.
        prefix: Ids of everything before a question.
        asked: Ids of each question (and the dialogue before it, if any).
        template: How a question is put, `{question}` in it.
        chat: The chat format that they are in; the base's when not given.
        closed: Of each question, the names of the tokens that it is answered without, because a
            patch's gate is closed; nothing where no patch has one.
    """

    features: ClipFeatures
    prefix: list[int]
    asked: list[list[int]]
    template: str = "{question}"
    chat: ChatFormat | None = None
    closed: list[frozenset[str]] = field(default_factory=list)


def questions_about(
    model: AnsweringModel, features: ClipFeatures, dialogues: Sequence[Sequence[Turn]]
) -> Questions:
    """What is asked about one clip, put as the patches learnt it that are at work on this clip.

    Of several patches the first counts that no other was trained on top of. Where none is at work,
    the base gets the plain question. The chat format is the one in which the patches were trained,
    as far as they tell, else the base's.

    Args:
        model: The model, with the wanted patches on.
        features: The clip.
        dialogues: For each question, the turns up to it, its own the last.

    Raises:
        ConfigError: If one of them is longer than the base's context, or patches at work were
            trained in several chat formats.
    """
    at_work = []
    told: dict[PromptStyle, str] = {}  # chat format -> the first patch that was trained in it
    below: set[str] = set()  # their base patches, whose prompt the patch on top has taken over
    for patch in model.patches.values():
        # A LoRA-only patch has no channel to miss.
        has = not patch.parts or patch.tokens_in(features.channels)
        if has and patch.weight != 0:
            at_work.append(patch)
            below.update(base_patch.name for base_patch in patch.config.base_patches)
            if patch.config.chat is not None:  # older patches do not say
                told.setdefault(patch.config.chat.style, patch.name)
    template = "{question}"  # of the base alone
    for patch in at_work:
        if patch.name not in below:
            template = patch.config.prompt
            break
    chat = model.base.chat
    if told.keys() - {chat.style}:
        chat = _trained_in(model.base, told)
    prefix: list[int] = []
    asked = []
    closed: list[frozenset[str]] = []
    if gated_parts(model.patches):
        named = dict(named_apart(model.patches, features.channels))
        features = replace(features, channels=named)
        # The last question of a dialogue decides.
        closed = [closed_gates(model.base, model.patches, turns[-1][0]) for turns in dialogues]
    for turns in dialogues:
        put = [(template.replace("{question}", question), answer) for question, answer in turns]
        prompt = chat.encode(features.clip.text, put)
        prefix = prompt.prefix  # the same for each
        ids = prompt.dialogue()
        if len(ids) > model.base.context:  # no turn of it by itself is
            places = prefix.count(model.base.placeholder_id)
            raise model.base.too_long(len(ids), places)
        asked.append(ids[len(prefix) :])
    return Questions(features, prefix, asked, template, chat, closed)


def apart(clips: Sequence[Questions]) -> tuple[list[Questions], list[tuple[int, int]]]:
    """Clips with their questions, those apart for which other gates are closed.

    What is left has no gates to look at: what they close is muted.

    Returns:
        The clips, some of them several times, and of each of their questions in order the numbers
        of its clip and of itself in what was given.
    """
    pieces: list[Questions] = []
    places: list[tuple[int, int]] = []
    for number, clip in enumerate(clips):
        alike: dict[frozenset[str], list[int]] = {}  # what is closed -> questions
        for place in range(len(clip.asked)):
            closed = clip.closed[place] if clip.closed else frozenset()
            alike.setdefault(closed, []).append(place)
        for closed, own in alike.items():
            channels = dict(muted(clip.features.channels, closed))
            piece = replace(
                clip,
                features=replace(clip.features, channels=channels),
                asked=[clip.asked[place] for place in own],
                closed=[],
            )
            pieces.append(piece)
            places += [(number, place) for place in own]
    return pieces, places


Answer = TypeVar("Answer")


def together(
    clips: Sequence[Questions],
    places: Sequence[tuple[int, int]],
    answers: Iterable[Answer],
) -> list[list[Answer]]:
    """An answer to each question of what `apart` has made of clips -> `[clip][question]`."""
    found: dict[tuple[int, int], Answer] = dict(zip(places, answers, strict=True))
    sorted_again = []
    for number, clip in enumerate(clips):
        own = [found[number, place] for place in range(len(clip.asked))]
        sorted_again.append(own)
    return sorted_again


def _trained_in(base: Base, told: Mapping[PromptStyle, str]) -> ChatFormat:
    """The one chat format of some patches, which is not the base's."""
    if len(told) > 1:
        raise ConfigError(
            f"the patches {' and '.join(told.values())} were trained in different chat formats; "
            "ask with one of them at a time"
        )
    (style,) = told
    return base.chat_in(style)
