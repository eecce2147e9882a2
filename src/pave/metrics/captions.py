"""Scores of free-form answers against references: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr of the COCO caption evaluation.

The field's numbers come from pycocoevalcap, so ours do: its scorers on its tokenization. SPICE is
left out, because it needs a model of several hundred MB that the wheel fetches from a server.
Without Java there are no Treebank tokens and no METEOR; a plain tokenizer then stands in, and the
result says that such scores cannot be compared with published ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from pave.metrics.java import NEEDS_JAVA, find_java, meteor, package_folder, treebank

BLEU = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4")
NO_JAVA = (
    f"no Java was found, which {NEEDS_JAVA} need: METEOR is left out, "
    "and the other scores cannot be compared with published ones"
)
_PLAIN = re.compile(r"[^\W_]+(?:[-'\u2019.][^\W_]+)*|[$%&]")


@dataclass(frozen=True)
class CaptionScores:
    """Caption scores of a set of answers.

    Attributes:
        scores: Bleu_1 to Bleu_4, METEOR (None without Java), ROUGE_L, CIDEr, over all answers.
            Fractions; tables of papers show them times 100.
        items: For each answer its tokens (`tok_pred`, `tok_refs`, lists of sentences) and its own
            scores (`bleu`, a list of four, `meteor`, `rouge_l`, `cider`).
        notes: What made them: versions, the tokenizer, and a warning where Java was missing.
    """

    scores: dict[str, float | None]
    items: list[dict[str, Any]]
    notes: dict[str, str] = field(default_factory=dict)


def caption_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> CaptionScores:
    """Score answers against their references.

    CIDEr weighs words by how rare they are among all references given, so the score of one answer
    depends on the set it is in; a single question scores 0.

    Args:
        predictions: One a question; an empty one scores 0.
        references: The accepted answers of each question, at least one.

    Raises:
        ConfigError: If pycocoevalcap is missing, or Java is there but fails.
        ValueError: If there is nothing to score, or a question has no reference.
    """
    if not len(predictions) == len(references) or not len(predictions) or not all(references):
        raise ValueError(
            "need as many predictions as lists of references, at least one, and no empty list"
        )
    package_folder()
    java = find_java()
    flat = (
        treebank(java, [one for many in references for one in many])
        if java
        else _plain([r for many in references for r in many])
    )
    said = treebank(java, predictions) if java else _plain(predictions)
    left = iter(flat)
    wanted = [[next(left) for _ in many] for many in references]
    notes = {
        "pycocoevalcap": version("pycocoevalcap"),
        "tokenizer": "Penn Treebank (Java)" if java else "plain",
    }
    scores, columns = _score(java, said, wanted)
    items = [
        {
            "tok_pred": [one],
            "tok_refs": many,
            **{name: values[place] for name, values in columns.items()},
        }
        for place, (one, many) in enumerate(zip(said, wanted, strict=True))
    ]
    return CaptionScores(scores, items, notes if java else {**notes, "warning": NO_JAVA})


def _score(
    java: str | None, said: list[str], wanted: list[list[str]]
) -> tuple[dict[str, float | None], dict[str, list[Any]]]:
    """Scores of the whole, and columns of scores of each answer."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    gts, res = dict(enumerate(wanted)), {place: [one] for place, one in enumerate(said)}
    bleu, bleus = Bleu(4).compute_score(gts, res, verbose=0)
    rouge, rouges = Rouge().compute_score(gts, res)
    # Where no reference has a single word the scorer divides nothing by nothing.
    words = any(one.strip() for many in wanted for one in many)
    cider, ciders = Cider().compute_score(gts, res) if words else (0.0, [0.0] * len(said))
    whole, parts = meteor(java, said, wanted) if java else (None, [None] * len(said))
    scores = {
        **dict(zip(BLEU, map(float, bleu), strict=True)),
        "METEOR": whole,
        "ROUGE_L": float(rouge),
        "CIDEr": float(cider),
    }
    columns: dict[str, list[Any]] = {
        "bleu": [[float(value) for value in values] for values in zip(*bleus, strict=True)],
        "meteor": list(parts),
        "rouge_l": [float(value) for value in rouges],
        "cider": [float(value) for value in ciders],
    }
    return scores, columns


def _plain(sentences: Sequence[str]) -> list[str]:
    """Lower case, words parted by one space, no punctuation: what can be done without Java."""
    return [" ".join(_PLAIN.findall(sentence.lower())) for sentence in sentences]
