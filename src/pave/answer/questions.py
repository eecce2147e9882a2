"""Questions as a model gets them: put as the patches learnt it, as ids behind a clip's prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pave.answer.model import AnsweringModel
from pave.data import ClipFeatures

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
    """

    features: ClipFeatures
    prefix: list[int]
    asked: list[list[int]]
    template: str = "{question}"


def questions_about(
    model: AnsweringModel, features: ClipFeatures, dialogues: Sequence[Sequence[Turn]]
) -> Questions:
    """What is asked about one clip, put as the patches learnt it that are at work on this clip.

    Of several patches the first counts that no other was trained on top of. Where none is at work,
    the base gets the plain question.

    Args:
        model: The model, with the wanted patches on.
        features: The clip.
        dialogues: For each question, the turns up to it, its own the last.

    Raises:
        ConfigError: If one of them is longer than the base's context.
    """
    at_work = []
    below: set[str] = set()  # their base patches, whose prompt the patch on top has taken over
    for patch in model.patches.values():
        # A LoRA-only patch has no channel to miss.
        has = patch.config.channel is None or patch.tokens_in(features.channels) is not None
        if has and patch.weight != 0:
            at_work.append(patch)
            below.update(base_patch.name for base_patch in patch.config.base_patches)
    template = "{question}"  # of the base alone
    for patch in at_work:
        if patch.name not in below:
            template = patch.config.prompt
            break
    prefix: list[int] = []
    asked = []
    for turns in dialogues:
        put = [(template.replace("{question}", question), answer) for question, answer in turns]
        prompt = model.base.chat.encode(features.clip.text, put)
        prefix = prompt.prefix  # the same for each
        ids = prompt.dialogue()
        if len(ids) > model.base.context:  # no turn of it by itself is
            places = prefix.count(model.base.placeholder_id)
            raise model.base.too_long(len(ids), places)
        asked.append(ids[len(prefix) :])
    return Questions(features, prefix, asked, template)
