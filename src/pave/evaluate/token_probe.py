"""Pooled token probes: do the tokens of an encoder hold the answers at all?

A patch that gains nothing on a kind of question has either tokens without the answer or a way to
the language model on which it gets lost. A probe tells the two apart. It learns the answers from
the pooled tokens alone, without a language model and in seconds:

- `linear`: least squares onto the answers, with a part for all questions and a part for each;
- `mlp`: one hidden layer, on the main directions of the pooled tokens.

What a probe is better than the most frequent answer (`prior`), the tokens hold. What pooling blurs
is found by the attention probe (`pave.evaluate.attention_probe`). Both choose how strongly they are
held back on a fifth of the training clips. A question that needs the picture as well as the channel
("on which side is what you hear?") is beyond all of them: the answer is in neither alone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.evaluate.probe_examples import Example, deal, prior
from pave.evaluate.probe_pooling import PooledClips
from pave.seeds import seeded

ProbeKind = Literal["linear", "mlp"]
MOST = 4000
"""Most training questions of a family: the work grows with their third power."""
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
# Of the network: chosen on made-up bits, among them an exclusive or.
_HIDDEN = 128
_EPOCHS = 150
_WORDINGS = 256


def probe(
    kind: ProbeKind,
    clips: PooledClips,
    train: Sequence[Example],
    asked: Sequence[Example],
    *,
    seed: int = 0,
) -> list[str]:
    """Learn the answers of one family from pooled tokens, and give those to other questions.

    Args:
        kind: Which probe.
        clips: Pooled tokens of all clips that occur.
        train: What is learnt from.
        asked: What is to be answered.
        seed: Of the choice of clips, and of the start of the `mlp`.

    Returns:
        An answer to each, one of those in `train`.
    """
    order = random.Random(seed)
    if len(train) > MOST:
        train = order.sample(list(train), MOST)
    dealt = deal(train, order)
    words = sorted({example.answer for example in train})
    if len(words) == 1 or not dealt.learnt or not dealt.held:
        return prior(train, asked)
    lesson = _Lesson(clips, words, dealt.learnt, dealt.held)
    if kind == "linear":
        scores = _linear(lesson, asked)
    else:
        with seeded(seed):
            scores = _mlp(lesson, asked)
    best = scores.argmax(1)  # [asked]
    return [words[place] for place in best.tolist()]


@dataclass(frozen=True)
class _Lesson:
    """What a probe learns from, and what chooses its settings."""

    clips: PooledClips
    words: Sequence[str]
    learnt: Sequence[Example]
    held: Sequence[Example]

    def targets(self, examples: Sequence[Example]) -> Tensor:
        """`[examples]`: the place of each answer among the words."""
        found = [self.words.index(example.answer) for example in examples]
        return torch.tensor(found)


def _linear(lesson: _Lesson, asked: Sequence[Example]) -> Tensor:
    """`[asked, words]` by ridge regression, in the form of products."""
    wanted = lesson.targets(lesson.held)
    most = -1  # right answers to questions that are held out
    best = _STRENGTHS[-1]
    # From the strongest on, which wins where several are equally good.
    for strength in reversed(_STRENGTHS):
        scores = _ridge(lesson, lesson.learnt, lesson.held, strength)
        said = scores.argmax(1)  # [held]
        is_right = said == wanted
        right = int(is_right.sum())
        if right > most:
            most = right
            best = strength
    everything = [*lesson.learnt, *lesson.held]
    return _ridge(lesson, everything, asked, best)


def _ridge(
    lesson: _Lesson, learnt: Sequence[Example], asked: Sequence[Example], strength: float
) -> Tensor:
    """Scores of the words for every example that is asked, `[asked, words]`."""
    targets = lesson.targets(learnt)
    one_hot = F.one_hot(targets, len(lesson.words))
    said = one_hot.double()  # [learnt, words]
    mean = said.mean(0)  # [words]
    own = _products(lesson.clips, learnt, learnt)  # [learnt, learnt]
    unit = torch.eye(len(learnt), dtype=own.dtype)
    held_back = own + strength * unit
    weights = torch.linalg.solve(held_back, said - mean)  # [learnt, words]
    with_learnt = _products(lesson.clips, asked, learnt)  # [asked, learnt]
    scores: Tensor = with_learnt @ weights + mean
    return scores


def _products(clips: PooledClips, some: Sequence[Example], others: Sequence[Example]) -> Tensor:
    """`[some, others]`: products of what a linear probe reads of two examples.

    That is three things: the tokens, the tokens in a part of their own for each question, and the
    question. The last two have a product only where both examples ask the same.
    """
    rows = clips.of(some)
    columns = clips.of(others)
    with_all = clips.products[rows]  # [some, clips]
    tokens = with_all[:, columns].double()  # [some, others]
    numbers: dict[str, int] = {}  # wording -> a number, since tensors hold no texts
    asked = _numbered(some, numbers)
    others_asked = _numbered(others, numbers)
    is_same = asked[:, None] == others_asked  # [some, others]
    same = is_same.double()
    return tokens * (1 + same) + same


def _numbered(examples: Sequence[Example], numbers: dict[str, int]) -> Tensor:
    """`[examples]`: the number of each one's wording; new wordings get the next."""
    found = []
    for example in examples:
        number = numbers.setdefault(example.question, len(numbers))
        found.append(number)
    return torch.tensor(found)


def _mlp(lesson: _Lesson, asked: Sequence[Example]) -> Tensor:
    """`[asked, words]` by one hidden layer, as it is after its best epoch on held-out clips."""
    known = _frequent_wordings(lesson.learnt)
    learnt = _read(lesson.clips, lesson.learnt, known)
    held = _read(lesson.clips, lesson.held, known)
    questions = _read(lesson.clips, asked, known)
    targets = lesson.targets(lesson.learnt)
    held_targets = lesson.targets(lesson.held)
    inputs = learnt.shape[1]
    words = len(lesson.words)
    network = _network(inputs, words)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.3)
    least = float("inf")  # loss on held-out clips
    scores = torch.zeros(len(asked), words)
    for _ in range(_EPOCHS):
        network.train()
        said = network(learnt)  # [learnt, words]
        loss = F.cross_entropy(said, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.eval()
        with torch.no_grad():
            said = network(held)  # [held, words]
            # The loss, not the share of right answers: of few clips that would be too coarse.
            missed = float(F.cross_entropy(said, held_targets))
            if missed < least:
                least = missed
                scores = network(questions)
    return scores


def _network(inputs: int, answers: int) -> nn.Module:
    """A hidden layer between so many inputs and answers, with random weights."""
    return nn.Sequential(
        nn.Linear(inputs, _HIDDEN),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(_HIDDEN, answers),
    )


def _frequent_wordings(learnt: Sequence[Example]) -> dict[str, int]:
    """Wording -> its place among those that the network tells apart.

    Wordings that are hardly ever learnt from are one and the same to it.
    """
    counts = Counter(example.question for example in learnt)
    places: dict[str, int] = {}
    for question, _ in counts.most_common(_WORDINGS):
        places[question] = len(places)
    return places


def _read(clips: PooledClips, examples: Sequence[Example], known: Mapping[str, int]) -> Tensor:
    """What the network reads of each example: `[examples, directions + wordings]`."""
    rows = clips.of(examples)
    directions = clips.directions[rows]  # [examples, directions]
    wordings = torch.zeros(len(examples), len(known))
    for row, example in enumerate(examples):
        place = known.get(example.question)
        if place is not None:
            wordings[row, place] = 1
    return torch.cat([directions, wordings], dim=1)
