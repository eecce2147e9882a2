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
from pave.evaluate.probe_memory import fewer_places
from pave.seeds import seeded
from pave.tokens import Tokens

ProbeKind = Literal["linear", "mlp"]
SEGMENTS, PLACES = 4, 16
"""Most pieces in time and in space that pooled tokens keep apart."""
MOST = 4000
"""Most training questions of a family: the work grows with their third power."""
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
# Of the network: chosen on made-up bits, among them an exclusive or.
_DIRECTIONS = 64
_HIDDEN = 128
_EPOCHS = 150
_WORDINGS = 256


@dataclass(frozen=True)
class PooledClips:
    """Pooled tokens of clips, in the forms that probes read.

    Attributes:
        rows: Clip -> its row.
        products: `[clips, clips]` mean product of two clips' features.
        directions: `[clips, <= 64]` main directions of the training clips' features.
    """

    rows: Mapping[str, int]
    products: Tensor
    directions: Tensor

    def of(self, examples: Sequence[Example]) -> Tensor:
        """`[examples]`: the row of each one's clip."""
        found = map(self.rows.__getitem__, [example.clip for example in examples])
        return torch.tensor(list(found))


def pool(tokens: Sequence[Tokens]) -> Tensor:
    """Every clip's tokens as one vector, all of one length.

    Time is cut into 4 equal pieces of mean tokens, so that "first" and "last" can be told apart.
    Places are kept up to 16; a larger square grid is averaged down to 4 x 4, so that left and right
    can be told apart. Where clips differ in the number of places, these are averaged. The largest
    value of each feature comes last.

    Args:
        tokens: Of each clip.

    Returns:
        `[clips, features]` float32.

    Example:
        >>> times = torch.arange(8)
        >>> pool([Tokens(torch.zeros(8, 2, 3), times)]).shape  # 4 * 2 * 3 + 3
        torch.Size([1, 27])
    """
    places = set()
    for own in tokens:
        places.add(own.values.shape[1])
    kept = 1  # the mean, where clips have no places in common
    if len(places) == 1:
        kept = places.pop()
    vectors = [_pooled(own.values.float(), kept) for own in tokens]
    return torch.stack(vectors)


def _pooled(values: Tensor, kept: int) -> Tensor:
    """`[T, S, C]` tokens as a vector, S being `kept` or averaged."""
    largest = values.amax((0, 1))  # [C]
    if values.shape[1] != kept:
        values = values.mean(1, keepdim=True)
    smaller = fewer_places(values, PLACES).permute(0, 2, 1)  # [T, C, S]
    lines = smaller.flatten(1).T  # [C * S, T]
    pieces = F.adaptive_avg_pool1d(lines, SEGMENTS)
    return torch.cat([pieces.flatten(), largest])


def pooled_clips(train: Mapping[str, Tokens], asked: Mapping[str, Tokens]) -> PooledClips:
    """Pool the tokens of all clips; scales are those of the training clips.

    Args:
        train: Training clip -> its tokens.
        asked: Clip that is asked about -> its tokens. Other names than those in `train`.
    """
    rows: dict[str, int] = {}
    for name in [*train, *asked]:
        rows[name] = len(rows)
    features = pool([*train.values(), *asked.values()])  # [clips, F]
    known = features[: len(train)]
    centred = features - known.mean(0)
    spread = known.std(0, correction=0)
    # A feature that never changes in training says nothing, and must not be blown up afterwards.
    useful = spread > 1e-6 * spread.max().clamp(min=1e-12)
    scaled = centred[:, useful] / spread[useful]
    count = max(1, scaled.shape[1])
    products = scaled @ scaled.T / count
    own = products[: len(train), : len(train)].double()
    strengths, vectors = torch.linalg.eigh(own)  # ascending
    best = min(_DIRECTIONS, max(1, len(train) // 4))
    strengths = strengths[-best:].clamp(min=1e-9)
    found = products[:, : len(train)].double() @ vectors[:, -best:] / strengths.sqrt()
    # As wide as they are, the widest about 1: directions of mere noise stay small.
    directions = (found * (len(train) / strengths[-1]).sqrt()).float()
    return PooledClips(rows, products, directions)


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
    words = sorted({example.answer for example in train})
    dealt = deal(train, order)
    if len(words) == 1 or not dealt.learnt or not dealt.held:
        return prior(train, asked)
    lesson = _Lesson(clips, words, dealt.learnt, dealt.held)
    if kind == "linear":
        scores = _linear(lesson, asked)
    else:
        with seeded(seed):
            scores = _mlp(lesson, asked)
    return [words[place] for place in scores.argmax(1).tolist()]


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
    best, strength = -1, _STRENGTHS[-1]
    # From the strongest on, which wins where several are equally good.
    for tried in reversed(_STRENGTHS):
        scores = _ridge(lesson, lesson.learnt, lesson.held, tried)
        right = int((scores.argmax(1) == wanted).sum())
        if right > best:
            best, strength = right, tried
    return _ridge(lesson, [*lesson.learnt, *lesson.held], asked, strength)


def _ridge(
    lesson: _Lesson, learnt: Sequence[Example], asked: Sequence[Example], strength: float
) -> Tensor:
    """Scores of the words for every example that is asked, `[asked, words]`."""
    known = F.one_hot(lesson.targets(learnt), len(lesson.words)).double()
    mean = known.mean(0)
    own = _products(lesson.clips, learnt, learnt)
    held_back = own + strength * torch.eye(len(learnt), dtype=own.dtype)
    weights = torch.linalg.solve(held_back, known - mean)
    scores: Tensor = _products(lesson.clips, asked, learnt) @ weights + mean
    return scores


def _products(clips: PooledClips, some: Sequence[Example], others: Sequence[Example]) -> Tensor:
    """Products of what a linear probe reads: tokens, tokens if asked so, and the question."""
    tokens = clips.products[clips.of(some)][:, clips.of(others)].double()
    numbers: dict[str, int] = {}  # wording -> a number, since tensors hold no texts
    rows = _numbered(some, numbers)
    columns = _numbered(others, numbers)
    same = (rows[:, None] == columns).double()  # [some, others]
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
    counts: Counter[str] = Counter()
    for example in lesson.learnt:
        counts[example.question] += 1
    # Wordings that are hardly ever learnt from are one and the same to it.
    places: dict[str, int] = {}
    for question, _ in counts.most_common(_WORDINGS):
        places[question] = len(places)
    inputs = _read(lesson.clips, lesson.learnt, places)
    chosen_on = _read(lesson.clips, lesson.held, places)
    questions = _read(lesson.clips, asked, places)
    targets = lesson.targets(lesson.learnt)
    wanted = lesson.targets(lesson.held)
    network = nn.Sequential(
        nn.Linear(inputs.shape[1], _HIDDEN),
        nn.GELU(),
        nn.Dropout(0.2),
        nn.Linear(_HIDDEN, len(lesson.words)),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.3)
    best, found = float("inf"), torch.zeros(len(asked), len(lesson.words))
    for _ in range(_EPOCHS):
        network.train()
        loss = F.cross_entropy(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        network.eval()
        with torch.no_grad():
            # The loss, not the share of right answers: of few clips that would be too coarse.
            missed = float(F.cross_entropy(network(chosen_on), wanted))
            if missed < best:
                best, found = missed, network(questions)
    return found


def _read(clips: PooledClips, examples: Sequence[Example], places: Mapping[str, int]) -> Tensor:
    """What the network reads of each example: `[examples, directions + wordings]`."""
    asked = torch.zeros(len(examples), len(places))
    for row, example in enumerate(examples):
        place = places.get(example.question)
        if place is not None:  # a wording that it knows
            asked[row, place] = 1
    return torch.cat([clips.directions[clips.of(examples)], asked], dim=1)
