"""Scores of free-form answers against references: BLEU-1 to 4, METEOR, ROUGE-L and CIDEr.

They are those of COCO's caption evaluation. The field's numbers come from pycocoevalcap, so ours
do: its scorers on its tokenization. SPICE is left out, because it needs a model of several hundred
MB that the wheel fetches from a server. Without Java there are no Treebank tokens and no METEOR; a
plain tokenizer then stands in, and the result says that such scores cannot be compared with
published ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import chain, islice
from typing import Any

from pave.metrics.java import NEEDS_JAVA, find_java, meteor, package_folder, treebank

BLEU = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4")
NO_JAVA = (
    f"Java was not found, and {NEEDS_JAVA} need it: METEOR is left out, and the other scores "
    "cannot be compared with published ones"
)
# Words with inner hyphens, apostrophes and points, or one of the signs that Treebank keeps.
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
            "there must be one non-empty list of references for each prediction, and at least "
            "one prediction"
        )
    package_folder()  # complains before Java is started
    java = find_java()
    tokens = _tokenize(java, predictions)
    wanted = _tokenize_all(java, references)
    scores, columns = _score(java, tokens, wanted)

    items = []
    for place, (prediction, accepted) in enumerate(zip(tokens, wanted, strict=True)):
        item: dict[str, Any] = {"tok_pred": [prediction], "tok_refs": accepted}
        for name, values in columns.items():
            item[name] = values[place]
        items.append(item)

    notes = {"pycocoevalcap": version("pycocoevalcap"), "tokenizer": "Penn Treebank (Java)"}
    if java is None:
        notes |= {"tokenizer": "plain", "warning": NO_JAVA}
    return CaptionScores(scores, items, notes)


def _tokenize(java: str | None, sentences: Sequence[str]) -> list[str]:
    """Sentences in lower case, words parted by one space, no punctuation."""
    if java is not None:
        return treebank(java, sentences)
    return [" ".join(_PLAIN.findall(sentence.lower())) for sentence in sentences]


def _tokenize_all(java: str | None, references: Sequence[Sequence[str]]) -> list[list[str]]:
    """The same for lists of sentences, in one go: starting Java takes longer than its work."""
    flat: list[str] = []
    for accepted in references:
        flat.extend(accepted)
    tokens = iter(_tokenize(java, flat))
    grouped = []
    for accepted in references:
        own = list(islice(tokens, len(accepted)))
        grouped.append(own)
    return grouped


def _score(
    java: str | None, predictions: list[str], references: list[list[str]]
) -> tuple[dict[str, float | None], dict[str, list[Any]]]:
    """Scores of the whole, and for each score its values answer by answer."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    # The scorers speak of "ground truths" and "results", both question -> list of sentences.
    gts = dict(enumerate(references))
    res = {place: [sentence] for place, sentence in enumerate(predictions)}
    bleu, bleus = Bleu(4).compute_score(gts, res, verbose=0)  # [4], [4, answers]
    rouge, rouges = Rouge().compute_score(gts, res)
    if any(map(str.strip, chain.from_iterable(references))):
        cider, ciders = Cider().compute_score(gts, res)
    else:
        # Where no reference has a single word the scorer divides nothing by nothing.
        cider, ciders = 0.0, [0.0] * len(predictions)

    scores: dict[str, float | None] = dict(zip(BLEU, map(float, bleu), strict=True))
    columns: dict[str, list[Any]] = {}
    columns["bleu"] = [list(map(float, values)) for values in zip(*bleus, strict=True)]
    if java is None:
        scores["METEOR"] = None
        columns["meteor"] = [None] * len(predictions)
    else:
        scores["METEOR"], columns["meteor"] = meteor(java, predictions, references)
    scores["ROUGE_L"] = float(rouge)
    columns["rouge_l"] = list(map(float, rouges))
    scores["CIDEr"] = float(cider)
    columns["cider"] = list(map(float, ciders))
    return scores, columns
