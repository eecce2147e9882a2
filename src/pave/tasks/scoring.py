"""Scoring functions that several tasks share: accuracies, exact match, caption scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from pave.metrics import (
    answer_match,
    caption_scores,
    choice_letter,
    clean_answer,
    normalise,
    one_token,
    without_thinking,
)
from pave.tasks.task import Item, Scored, Style

CAPTION_TABLE = ("CIDEr", "Bleu_4", "METEOR", "ROUGE_L")
# Item score -> the score of the whole that is its mean. BLEU and METEOR pool statistics and are no
# means.
_MEANS = {"cider": "CIDEr", "rouge_l": "ROUGE_L"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

Score = Callable[[Sequence[Item], Style], Scored]


def accuracy(
    parse: Callable[[Item, Style], str], right: Callable[[Item, str, Style], bool]
) -> Score:
    """Accuracy of answers.

    Args:
        parse: Item, style -> what the answer comes down to (a letter, a cleaned string), kept in
            the per-item file.
        right: Item, parsed answer, style -> whether it is right.
    """

    def score(items: Sequence[Item], style: Style) -> Scored:
        correct = []  # [items], 0 or 1
        details = []
        for item in items:
            parsed = parse(item, style)
            hit = right(item, parsed, style)
            correct.append(float(hit))
            details.append({"parsed": parsed, "correct": hit})
        mean = sum(correct) / len(items)
        return Scored({"accuracy": mean}, {"accuracy": correct}, details, table=("accuracy",))

    return score


def choice(authors: Callable[[str], str] | None) -> Score:
    """Accuracy of a multiple choice.

    Answers are read with care, or in the authors' style as the benchmark's own script does.

    Args:
        authors: Answer -> letter, by the benchmark's script; None for "the right letter is anywhere
            in the answer".
    """

    def parse(item: Item, style: Style) -> str:
        if style == "default":
            return choice_letter(item.prediction, item.options)
        if authors is None:
            return item.prediction
        return authors(item.prediction)

    def right(item: Item, parsed: str, style: Style) -> bool:
        letter = item.references[0]
        if style == "authors" and authors is None:
            # Generous: "A" is in "Answer", too.
            return letter in parsed
        return parsed == letter

    return accuracy(parse, right)


def contains(text: str, words: str) -> bool:
    """Whether the words stand in the text as words: "no" not in "piano"; numbers equal their words.

    Example:
        >>> contains("The piano.", "no"), contains("There are 2.", "two")
        (False, True)
        >>> contains("twenty-two", "two"), contains("twenty-two", "22")
        (False, True)
        >>> contains("acoustic guitar", "acoustic_guitar")
        True
    """
    wanted = plain(words)
    if not wanted:
        return False
    return f" {wanted} " in f" {plain(text)} "


def plain(text: str) -> str:
    """Normalised words; 0 to 10 spelt out, and every other number one word ("21", "1point5")."""
    words = normalise(one_token(text))
    return re.sub(r"\b(?:10|\d)\b", lambda found: NUMBERS[int(found[0])], words)


def matches(items: Sequence[Item], style: Style) -> Scored:
    """Exact match (EM1) and refined exact match, see `pave.metrics.answer_match`."""
    # The authors' script calls an empty string contained in any other, so it matches everything.
    empty_matches = style == "authors"
    columns: dict[str, list[float]] = {"EM1": [], "EM1_refined": []}
    details = []
    for item in items:
        prediction = clean_answer(_said(item, style))
        references = list(map(clean_answer, item.references))
        exact, refined = answer_match(prediction, references, empty_matches=empty_matches)
        columns["EM1"].append(float(exact))
        columns["EM1_refined"].append(float(refined))
        detail: dict[str, Any] = {"clean_pred": prediction, "clean_refs": references}
        detail |= {"em": int(exact), "em_refined": int(refined)}
        details.append(detail)
    scores: dict[str, float | None] = {}
    for name, values in columns.items():  # [items] each, 0 or 1
        scores[name] = sum(values) / len(items)
    return Scored(scores, columns, details, table=("EM1", "EM1_refined"))


def captions(items: Sequence[Item], style: Style) -> Scored:
    """BLEU, METEOR, ROUGE-L and CIDEr of the answers; by default without a model's thinking."""
    predictions, references = [], []
    for item in items:
        predictions.append(_said(item, style))
        references.append(item.references)
    return _captions(predictions, references)


def matches_and_captions(items: Sequence[Item], style: Style) -> Scored:
    """Exact match, and caption scores of the cleaned strings."""
    match = matches(items, style)
    predictions, references = [], []
    for detail in match.details:
        predictions.append(str(detail["clean_pred"]))
        # A line break would make two sentences of one for the tokenizer.
        references.append([text.replace("\n", " ").strip() for text in detail["clean_refs"]])
    caption = _captions(predictions, references)
    details = [{**own, **more} for own, more in zip(match.details, caption.details, strict=True)]
    return Scored(
        scores={**match.scores, **caption.scores},
        columns={**match.columns, **caption.columns},
        details=details,
        notes=caption.notes,
        table=(*CAPTION_TABLE, "EM1", "EM1_refined"),
    )


def _said(item: Item, style: Style) -> str:
    """The answer; by default without thinking, which the authors' scripts do not know."""
    if style == "authors":
        return item.prediction
    return without_thinking(item.prediction)


def _captions(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Scored:
    result = caption_scores(predictions, references)
    columns = {}
    for column, name in _MEANS.items():
        columns[name] = [row[column] for row in result.items]
    return Scored(result.scores, columns, result.items, result.notes, CAPTION_TABLE)
