"""Questions without any clip: what a model says to the words alone.

A score that a model reaches so is owed to language: to which answers are likely for a question.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pave.answer.generation import decode
from pave.answer.layout import parts_of
from pave.answer.model import AnsweringModel
from pave.answer.questions import Turn, questions_about
from pave.answer.sampling import Sampling
from pave.answer.written import Piece, SpokenTurn
from pave.bases.prompt import ChatFormat
from pave.bases.visual import Clip, Layout, Visual
from pave.data import ClipFeatures


def prompts_alone(
    model: AnsweringModel, dialogues: Sequence[Sequence[Turn]]
) -> tuple[list[list[int]], ChatFormat]:
    """Ids of dialogues without a clip, each up to its open answer, and their chat format.

    They are put as the patches learnt it that work without a channel (LoRA-only ones), else in the
    base's way.

    Args:
        model: The model, with the wanted patches on.
        dialogues: For each question, the turns up to it, its own the last.

    Raises:
        ConfigError: If one is longer than the base's context.
    """
    base = model.base
    # Nothing is seen, and no channel is there.
    nothing = Visual(
        tokens=torch.zeros(0, base.hidden_dim),
        layout=Layout(0, 0, 0),
    )
    clip = Clip(
        pixels={},
        times=torch.zeros(0),
        text="",
        frames=0,
    )
    unseen = ClipFeatures(clip, nothing)
    put = questions_about(model, unseen, [])
    chat = put.chat or base.chat
    prompts = []
    for turns in dialogues:
        spoken: list[SpokenTurn] = []
        for question, answer in turns:
            text: Piece = put.template.replace("{question}", question)
            spoken.append(([text], answer))
        parts = parts_of(base, spoken, chat)
        ids = chat.encode_talk(parts)
        if len(ids) > base.context:
            raise base.too_long(len(ids), 0)
        prompts.append(ids)
    return prompts, chat


@torch.no_grad()
def answer_alone(
    model: AnsweringModel, dialogues: Sequence[Sequence[Turn]], sampling: Sampling
) -> list[str]:
    """The answer to each dialogue's open question, without a clip.

    Prompts of one length are answered together, so that no row has padding and an answer is what
    it would be by itself. Questions in the same words are asked once.

    Args:
        model: The model, with the wanted patches on.
        dialogues: For each question, the turns up to it, its own the last.
        sampling: How; one answer each.

    Example:
        >>> answer_alone(model, [[("What do you hear?", None)]], Sampling(8))  # doctest: +SKIP
        ['dog']
    """
    prompts, chat = prompts_alone(model, dialogues)
    keys = [tuple(prompt) for prompt in prompts]
    lengths: dict[int, list[tuple[int, ...]]] = {}  # tokens -> prompts, each once
    for key in dict.fromkeys(keys):
        own = lengths.setdefault(len(key), [])
        own.append(key)
    said: dict[tuple[int, ...], str] = {}
    for rows in lengths.values():
        # No row is shorter than another, so nothing is padded.
        inputs = model.base.batch(rows, pad="left")
        answers = decode(model, inputs, sampling, ends=[chat.stop_id])
        for row, ids in zip(rows, answers, strict=True):
            said[row] = model.base.decode(ids)
    return list(map(said.__getitem__, keys))
