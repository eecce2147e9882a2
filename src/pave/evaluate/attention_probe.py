"""The attention probe: reads the tokens of a clip one by one, as the question's words want it.

A pooled probe (`pave.evaluate.token_probe`) sees means. What is short, small, or needs two tokens
to be compared ("Is the piano in front of the cat?") is blurred there. This one is a small
transformer: the words of the question find their tokens, look at the clip and at each other, twice,
and then name an answer. It has no language model and knows no word beforehand, so it learns all
kinds of questions together: one kind teaches it what a piano looks like, another one what is
nearer.

Of each kind, the answers are those after the epoch at which the kind did best on a fifth of the
training clips.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.evaluate.probe_examples import Example, deal, prior
from pave.evaluate.probe_memory import MOMENTS, PLACES, Memory, Seen
from pave.evaluate.probe_words import LONGEST, PADDING, Sheet, Vocabulary
from pave.seeds import seeded

# Of the network and its training.
_WIDTH = 64
_HEADS = 4
_BLOCKS = 2
_STEPS = 1000  # about as many, but
_EPOCHS = (15, 40)  # at least and at most so many times through the questions
_BATCH = 8  # clips
_ASKED = 256  # questions that are answered at a time
_RATE = 2e-3


class Look(nn.Module):
    """Multi-head attention of words to tokens, whose keys and values are made once a clip."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)
        self.query = nn.Linear(_WIDTH, _WIDTH)
        self.key = nn.Linear(_WIDTH, _WIDTH)
        self.value = nn.Linear(_WIDTH, _WIDTH)
        self.out = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, words: Tensor, tokens: Tensor, asked: Asked) -> Tensor:
        """Words `[B, L, width]` and tokens `[clips, N, width]` -> `[B, L, width]`."""
        normed = self.norm(words)
        query = _heads(self.query(normed))
        key = _heads(self.key(tokens))
        value = _heads(self.value(tokens))
        found = F.scaled_dot_product_attention(
            query,
            key[asked.clips],
            value[asked.clips],
            asked.present[:, None, None],  # the same for all heads and words
        )
        joined = found.transpose(1, 2).flatten(2)
        out: Tensor = self.out(joined)
        return out


class Asked(NamedTuple):
    """Which clip each question is about.

    Attributes:
        clips: `[B]`: its number among the clips of the batch.
        present: `[B, N]` bool, false at padding.
    """

    clips: Tensor
    present: Tensor


class Network(nn.Module):
    """Words that look at tokens.

    Tokens are also mapped to word vectors, their *names*. A word finds the tokens whose names are
    like it, and an answer is made of names that are looked at. So whoever learns to say "piano"
    has also learned to find one.

    Args:
        features: D of the tokens.
        vocabulary: Of the training examples.
        possible: `[families, answers]`, see `Vocabulary.possible`.
    """

    said: Tensor
    possible: Tensor

    def __init__(self, features: int, vocabulary: Vocabulary, possible: Tensor) -> None:
        super().__init__()
        self.register_buffer("said", vocabulary.said())
        self.register_buffer("possible", possible)
        self.words = nn.Embedding(vocabulary.size, _WIDTH, padding_idx=PADDING)
        self.order = nn.Embedding(LONGEST, _WIDTH)
        self.moments = nn.Embedding(MOMENTS, _WIDTH)
        self.places = nn.Embedding(PLACES, _WIDTH)
        # What a token holds, and the word that it would be.
        self.tokens = nn.Linear(features, _WIDTH)
        self.names = nn.Linear(features, _WIDTH)
        self.found = nn.Linear(_WIDTH, _WIDTH)
        self.looks = nn.ModuleList()
        self.talks = nn.ModuleList()
        for _ in range(_BLOCKS):
            self.looks.append(Look())
            self.talks.append(_talk())
        self.norm = nn.LayerNorm(_WIDTH)
        # An answer as the words mean it, and as the tokens that they point to are named.
        self.head = nn.Linear(_WIDTH, _WIDTH)
        self.pointer = nn.Linear(_WIDTH, _WIDTH)
        self.frequent = nn.Parameter(torch.zeros(possible.shape[1]))

    def forward(self, sheet: Sheet, seen: Seen) -> Tensor:
        """Scores `[B, answers]`; minus infinity where the family has no such answer.

        Args:
            sheet: Questions.
            seen: The tokens of all clips.
        """
        # Tokens of a clip are mapped once, however many questions are about it.
        clips, number = sheet.rows.unique(return_inverse=True)
        own = seen.of(clips)
        asked = Asked(number, ~own.absent[number])
        place = self.moments(own.moments) + self.places(own.places)
        tokens = self.tokens(own.values) + place  # [clips, N, width]
        names = self.names(own.values)
        names = names[number]  # [B, N, width]
        mask = asked.present[:, None]
        words = self.words(sheet.words)  # [B, L, width]
        blank = sheet.words == PADDING
        found = F.scaled_dot_product_attention(
            words,
            names,
            tokens[number],
            mask,
        )
        numbers = torch.arange(words.shape[1])
        order = self.order(numbers)  # of the words in the question
        x = words + order + self.found(found)
        for look, talk in zip(self.looks, self.talks, strict=True):
            x = x + look(x, tokens, asked)
            x = talk(x, src_key_padding_mask=blank)
        wanted = _mean(self.norm(x), ~blank)
        wanted = wanted[:, None]  # [B, 1, width]
        named = F.scaled_dot_product_attention(
            self.pointer(wanted),
            tokens[number],
            names,
            mask,
        )
        meant = self.head(wanted) + named
        said = self.words(self.said)  # [answers, L, width]
        answers = _mean(said, self.said != PADDING)
        scores = meant[:, 0] @ answers.T + self.frequent
        impossible = ~self.possible[sheet.kinds]
        found_scores: Tensor = scores.masked_fill(impossible, float("-inf"))
        return found_scores


def _talk() -> nn.TransformerEncoderLayer:
    """A block in which the words of a question look at each other."""
    return nn.TransformerEncoderLayer(
        _WIDTH,
        _HEADS,
        dim_feedforward=2 * _WIDTH,
        dropout=0.1,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def _heads(x: Tensor) -> Tensor:
    """`[B, L, width]` -> `[B, heads, L, width / heads]`."""
    heads: Tensor = x.unflatten(2, (_HEADS, -1))
    return heads.transpose(1, 2)


def attend(
    memory: Memory, train: Sequence[Example], asked: Sequence[Example], *, seed: int = 0
) -> list[str]:
    """Learn the answers of all families from unpooled tokens, and give those to other questions.

    Args:
        memory: Tokens of all clips that occur.
        train: What is learnt from.
        asked: What is to be answered; of families that occur in `train`.
        seed: Of the choice of clips, of the start, and of the order in training.

    Returns:
        An answer to each, one of those of its family in `train`.
    """
    dealt = deal(train, random.Random(seed))
    if not dealt.learnt or not dealt.held:
        return prior(train, asked)
    vocabulary = Vocabulary(train)
    sheets = _Sheets(
        learnt=vocabulary.sheet(memory, dealt.learnt, known=True),
        held=vocabulary.sheet(memory, dealt.held, known=True),
        asked=vocabulary.sheet(memory, asked, known=False),
    )
    with seeded(seed), torch.enable_grad():
        possible = vocabulary.possible(train)
        network = Network(memory.seen.values.shape[2], vocabulary, possible)
        found = _learn(network, memory.seen, sheets)
    return [vocabulary.answers[number] for number in found.tolist()]


@dataclass(frozen=True)
class _Sheets:
    """What a network learns from, what chooses the epoch, and what is asked."""

    learnt: Sheet
    held: Sheet
    asked: Sheet


def _learn(network: Network, seen: Seen, sheets: _Sheets) -> Tensor:
    """`[asked]`: numbers of the answers, each after its family's best epoch."""
    optimizer = torch.optim.AdamW(
        network.parameters(),
        lr=_RATE,
        weight_decay=0.05,
    )
    families = len(network.possible)
    best = torch.full((families,), float("inf"))
    found = torch.zeros_like(sheets.asked.answers)
    for _ in range(_epochs(len(sheets.learnt.rows.unique()))):
        network.train()
        for sheet in _batches(sheets.learnt):
            scores = network(sheet, seen)
            loss = F.cross_entropy(scores, sheet.answers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            missed = _missed(network, seen, sheets.held)  # [families]
            better = missed < best
            best = torch.where(better, missed, best)
            # Only questions of families that have become better are asked again.
            again = better[sheets.asked.kinds]
            changed = again.nonzero()[:, 0]
            if len(changed):
                questions = sheets.asked.of(changed)
                scores = _scores(network, seen, questions)
                found[changed] = scores.argmax(1)
    return found


def _epochs(clips: int) -> int:
    """How often the network sees each of so many clips."""
    batches = -(-clips // _BATCH)
    least, most = _EPOCHS
    return max(least, min(most, _STEPS // batches))


def _batches(sheet: Sheet) -> Iterator[Sheet]:
    """All questions in random order of their clips, with those of a clip together."""
    clips = sheet.rows.unique()
    order = torch.randperm(len(clips))
    for chosen in clips[order].split(_BATCH):
        is_chosen = torch.isin(sheet.rows, chosen)
        places = is_chosen.nonzero()[:, 0]
        yield sheet.of(places)


def _missed(network: Network, seen: Seen, held: Sheet) -> Tensor:
    """`[families]`: mean loss on held-out questions; 0 where a family has none.

    The loss, not the share of right answers: of few clips that would be too coarse.
    """
    scores = _scores(network, seen, held)
    losses = F.cross_entropy(scores, held.answers, reduction="none")
    families = len(network.possible)
    sums = torch.zeros(families)
    sums = sums.index_add(0, held.kinds, losses)
    counts = torch.bincount(held.kinds, minlength=families)
    return sums / counts.clamp(min=1)  # without any question 0, not 0 / 0


def _scores(network: Network, seen: Seen, sheet: Sheet) -> Tensor:
    """`[B, answers]`, some questions at a time."""
    parts = []
    places = torch.arange(len(sheet.rows))
    for batch in places.split(_ASKED):
        part = sheet.of(batch)
        parts.append(network(part, seen))
    return torch.cat(parts)


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """`[B, L, width]` words as `[B, width]`, padding left out."""
    weight = real.float()
    weight = weight[..., None]  # the same for all features
    total = (values * weight).sum(1)
    return total / weight.sum(1)
