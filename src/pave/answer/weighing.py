"""How likely a model finds given answers: the mean log-probability of their tokens.

Greedy answers say which answer wins; the difference of two answers' log-probabilities (their
margin) says by how much, also where the winner is a third one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from pave.answer.generation import answering, check_asked, rows_of
from pave.answer.model import AnsweringModel
from pave.answer.prefixes import behind_prefixes, read_prefixes
from pave.answer.questions import Questions, apart, together
from pave.arguments import as_list_of, as_text
from pave.bases import why_no_shared_prefix
from pave.errors import ConfigError


@torch.no_grad()
def log_probabilities(
    model: AnsweringModel,
    clips: Sequence[Questions],
    answers: Sequence[Sequence[Sequence[str]]],
) -> list[list[list[float]]]:
    """The mean log-probability of each answer's tokens behind its question.

    The token that ends an answer does not count: what is compared is what answers say. A clip's
    prefix is read once for all of its questions and answers, where the base allows it.

    Args:
        model: The model, with the wanted patches on; it answers in eval mode.
        clips: Clips with their questions.
        answers: `[clip][question]`, the answers to weigh.

    Returns:
        `[clip][question][answer]`, natural logarithms.

    Raises:
        ConfigError: If an argument is of another kind, or answers do not go with the questions.

    Example:
        >>> weighed = log_probabilities(model, [asked], [[["yes", "no"]]])  # doctest: +SKIP
        >>> yes, no = weighed[0][0]  # doctest: +SKIP
    """
    check_asked(model, clips)
    _check_answers(clips, answers)
    pieces, places = apart(clips)
    texts = []  # the answers to each question
    for number, place in places:
        texts.append(answers[number][place])
    rows, said = _rows(model, pieces, texts)
    means = iter(_means(model, rows, said))
    # Cut up again as the answers were given.
    weighed = []
    for own in texts:
        found = islice(means, len(own))
        weighed.append(list(found))
    return together(clips, places, weighed)


def _rows(
    model: AnsweringModel, pieces: Sequence[Questions], texts: Sequence[Sequence[str]]
) -> tuple[list[Questions], list[list[int]]]:
    """What the model is to read, and what it is to be found in.

    Args:
        model: The model.
        pieces: Clips with their questions.
        texts: The answers to each question, clip by clip.

    Returns:
        The clips with a row for each answer, and the answers' ids in the order of the rows.
    """
    rows = []
    said: list[list[int]] = []
    left = iter(texts)
    for piece in pieces:
        chat = piece.chat or model.base.chat
        asked = []
        for question in piece.asked:
            for text in next(left):
                ids = chat.answer(text)
                said.append(ids)
                asked.append(question + ids)
        if asked:  # a clip without answers has no row
            rows.append(replace(piece, asked=asked))
    return rows, said


def _check_answers(
    clips: Sequence[Questions],
    answers: Sequence[Sequence[Sequence[str]]],
) -> None:
    """Refuse answers that are no texts, or of other questions.

    Raises:
        ConfigError: If they are so.
    """
    what = "answers are lists of texts, for each clip and each of its questions"
    as_list_of(answers, Sequence, what)
    _must_be_as_many(len(answers), len(clips), "clips")
    for clip, of_clip in zip(clips, answers, strict=True):
        as_list_of(of_clip, Sequence, what)
        _must_be_as_many(len(of_clip), len(clip.asked), "questions of a clip")
        for texts in of_clip:
            for text in as_list_of(texts, str, what):
                as_text(text, "an answer is a text")


def _must_be_as_many(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise ConfigError(f"answers to {found} {what} were given, there are {wanted}")


def _means(
    model: AnsweringModel, rows: Sequence[Questions], said: Sequence[list[int]]
) -> list[float]:
    """A number for each answer."""
    if not said:
        return []
    # The token in front of each token predicts it.
    longest = 1 + max(map(len, said))
    with answering(model, longest):
        inputs = _inputs(model, rows)
        logits = model(**inputs).logits  # [rows, longest, vocabulary]
    means = []
    for row, ids in zip(logits, said, strict=True):
        # Padding is on the left, so every row ends with its answer.
        before = row[-1 - len(ids) : -1]  # [answer, vocabulary]
        means.append(_mean(before, ids))
    return means


def _mean(logits: Tensor, ids: list[int]) -> float:
    """The mean log-probability of tokens that were predicted by `[tokens, vocabulary]`."""
    all_tokens = logits.float().log_softmax(-1)
    targets = torch.tensor(ids, device=logits.device)
    found = all_tokens.gather(1, targets[:, None])  # [tokens, 1]
    return float(found.mean())


def _inputs(model: AnsweringModel, rows: Sequence[Questions]) -> dict[str, Any]:
    """What the model reads, behind a prefix where the base can share one."""
    if why_no_shared_prefix(model.base):
        return rows_of(model.base, rows, whole=True)
    inputs = rows_of(model.base, rows, whole=False)
    prefixes = read_prefixes(model, rows)
    joined = behind_prefixes(model.base, rows, prefixes)
    read = joined["past_key_values"].get_seq_length()
    # The cache stands for the prefix; the mask still covers it.
    inputs["input_ids"] = joined["input_ids"][:, read:]
    inputs["position_ids"] = joined["position_ids"][..., read:]
    inputs["attention_mask"] = joined["attention_mask"]
    inputs["past_key_values"] = joined["past_key_values"]
    return inputs
