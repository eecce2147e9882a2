"""Questions and answers as numbers of words, which is how the attention probe reads them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pave.evaluate.probe_examples import Example
from pave.evaluate.probe_memory import Memory

LONGEST = 48
"""Words of a question that are read, the last ones."""
PADDING = 0
"""Number of no word."""
_UNKNOWN = 1
_WORDS = 1000  # words that are known, the most frequent ones


class Sheet(NamedTuple):
    """Questions as numbers.

    Attributes:
        rows: `[B]`: row of each one's clip.
        words: `[B, L]`: numbers of its words, 0 behind the last one.
        kinds: `[B]`: number of its family.
        answers: `[B]`: number of its answer; 0 where that is not known.
    """

    rows: Tensor
    words: Tensor
    kinds: Tensor
    answers: Tensor

    def of(self, places: Tensor) -> Sheet:
        """The questions at `places`."""
        return Sheet(
            rows=self.rows[places],
            words=self.words[places],
            kinds=self.kinds[places],
            answers=self.answers[places],
        )


def words_of(text: str) -> list[str]:
    """The words of a text in small letters.

    Example:
        >>> words_of("Is the piano in front?")
        ['is', 'the', 'piano', 'in', 'front']
    """
    return re.findall(r"\w+", text.lower())


class Vocabulary:
    """Numbers of words, answers and families, those that occur in training."""

    def __init__(self, train: Sequence[Example]) -> None:
        counts: Counter[str] = Counter()
        answers = set()
        families = set()
        for example in train:
            counts.update(words_of(example.question))
            counts.update(words_of(example.answer))
            answers.add(example.answer)
            families.add(example.family)
        # Of equally frequent ones the first by letters: the order of records is nothing.
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self._words: dict[str, int] = {}
        for number, word in enumerate(ranked[:_WORDS], _UNKNOWN + 1):
            self._words[word] = number
        self.answers = sorted(answers)
        self.families = sorted(families)

    @property
    def size(self) -> int:
        """Word vectors that are needed, those of padding and of unknown words included."""
        return len(self._words) + 2

    def numbers(self, text: str) -> Tensor:
        """`[L]`: the numbers of a text's words, at least one."""
        words = words_of(text)[-LONGEST:]
        found = []
        for word in words or [""]:
            number = self._words.get(word, _UNKNOWN)
            found.append(number)
        return torch.tensor(found)

    def sheet(self, memory: Memory, examples: Sequence[Example], *, known: bool) -> Sheet:
        """The examples as numbers; their answers are read only if they are `known`."""
        rows = []
        words = []
        kinds = []
        answers = []
        for example in examples:
            rows.append(memory.rows[example.clip])
            words.append(self.numbers(example.question))
            kinds.append(self.families.index(example.family))
            answer = 0
            if known:
                answer = self.answers.index(example.answer)
            answers.append(answer)
        return Sheet(
            rows=torch.tensor(rows),
            words=_side_by_side(words),
            kinds=torch.tensor(kinds),
            answers=torch.tensor(answers),
        )

    def said(self) -> Tensor:
        """`[answers, L]`: the words of the answers."""
        words = list(map(self.numbers, self.answers))
        return _side_by_side(words)

    def possible(self, train: Sequence[Example]) -> Tensor:
        """`[families, answers]` bool: which answers a family has in training."""
        found = torch.zeros(len(self.families), len(self.answers), dtype=torch.bool)
        for example in train:
            kind = self.families.index(example.family)
            answer = self.answers.index(example.answer)
            found[kind, answer] = True
        return found


def _side_by_side(rows: Sequence[Tensor]) -> Tensor:
    """`[rows, L]`, padded behind."""
    return pad_sequence(list(rows), batch_first=True, padding_value=PADDING)
