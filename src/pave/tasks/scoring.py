"""Scoring functions that several tasks share: accuracy of a choice or a mention, exact match, caption scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from pave.metrics import answer_match, caption_scores, choice_letter, clean_answer, normalise
from pave.tasks.task import Item, Scored, Style

CAPTION_TABLE = ("CIDEr", "Bleu_4", "METEOR", "ROUGE_L")
# Item score -> the score of the whole that is its mean. BLEU and METEOR pool statistics and are no
# means.
_MEANS = {"cider": "CIDEr", "rouge_l": "ROUGE_L"}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def accuracy(
    parse: Callable[[Item, Style], str], right: Callable[[Item, str, Style], bool]
) -> Callable[..., Scored]:
    """Accuracy of answers.

    Args:
        parse: Item, style -> what the answer comes down to (a letter, a cleaned string), kept in
            the per-item file.
        right: Item, parsed answer, style -> whether it is right.
    """

    def score(items: Sequence[Item], style: Style) -> Scored:
        parsed = [parse(item, style) for item in items]
        correct = [
            float(right(item, said, style)) for item, said in zip(items, parsed, strict=True)
        ]
        details = [
            {"parsed": said, "correct": bool(hit)}
            for said, hit in zip(parsed, correct, strict=True)
        ]
        return Scored(
            {"accuracy": sum(correct) / len(items)},
            {"accuracy": correct},
            details,
            table=("accuracy",),
        )

    return score


def choice(authors: Callable[[str], str] | None) -> Callable[..., Scored]:
    """Accuracy of a multiple choice: a careful reading, or in the authors' style the benchmark's own.

    Args:
        authors: Answer -> letter, by the benchmark's script; None for "the right letter is anywhere
            in the answer".
    """

    def parse(item: Item, style: Style) -> str:
        if style == "default":
            return choice_letter(item.prediction, item.options)
        return item.prediction if authors is None else authors(item.prediction)

    def right(item: Item, said: str, style: Style) -> bool:
        if style == "authors" and authors is None:
            return item.references[0] in said
        return said == item.references[0]

    return accuracy(parse, right)


def contains(text: str, words: str) -> bool:
    """Whether the words stand in the text as words: "no" not in "piano"; 0 to 10 equal their words.

    Example:
        >>> contains("The piano.", "no"), contains("There are 2.", "two"), contains("acoustic guitar", "acoustic_guitar")
        (False, True, True)
    """
    wanted = plain(words)
    return bool(wanted) and f" {wanted} " in f" {plain(text)} "


def plain(text: str) -> str:
    """Normalised words, with 0 to 10 spelt out."""
    return re.sub(r"\b(?:10|\d)\b", lambda found: NUMBERS[int(found[0])], normalise(text))


def matches(
    items: Sequence[Item], style: Style, clean: Callable[[str], str] = clean_answer
) -> Scored:
    """Exact match (EM1) and refined exact match of cleaned strings, see `pave.metrics.answer_match`."""
    exact, refined, details = [], [], []
    for item in items:
        said, wanted = clean(item.prediction), [clean(reference) for reference in item.references]
        em, em_refined = answer_match(said, wanted, empty_matches=style == "authors")
        exact.append(float(em))
        refined.append(float(em_refined))
        details.append(
            {"clean_pred": said, "clean_refs": wanted, "em": int(em), "em_refined": int(em_refined)}
        )
    columns = {"EM1": exact, "EM1_refined": refined}
    scores = {name: sum(values) / len(items) for name, values in columns.items()}
    return Scored(scores, columns, details, table=("EM1", "EM1_refined"))


def captions(items: Sequence[Item], style: Style) -> Scored:
    """BLEU, METEOR, ROUGE-L and CIDEr of the answers as they are."""
    return _captions([item.prediction for item in items], [list(item.references) for item in items])


def matches_and_captions(items: Sequence[Item], style: Style) -> Scored:
    """Exact match, and caption scores of the cleaned strings."""
    match = matches(items, style)
    said = [str(row["clean_pred"]) for row in match.details]
    wanted = [
        [text.replace("\n", " ").strip() for text in row["clean_refs"]] for row in match.details
    ]
    caption = _captions(said, wanted)
    details = [{**a, **b} for a, b in zip(match.details, caption.details, strict=True)]
    scores, columns = {**match.scores, **caption.scores}, {**match.columns, **caption.columns}
    return Scored(scores, columns, details, caption.notes, (*CAPTION_TABLE, "EM1", "EM1_refined"))


def _captions(said: Sequence[str], wanted: Sequence[Sequence[str]]) -> Scored:
    result = caption_scores(said, wanted)
    columns = {name: [row[column] for row in result.items] for column, name in _MEANS.items()}
    return Scored(result.scores, columns, result.items, result.notes, CAPTION_TABLE)
