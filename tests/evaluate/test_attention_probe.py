"""The attention probe on tokens whose content is known, where pooled tokens hold nothing."""

from __future__ import annotations

import random

import pytest
import torch

from pave.evaluate.attention_probe import attend
from pave.evaluate.probe_examples import Example
from pave.evaluate.probe_memory import MOMENTS, fewer_places, memory_of, thinned
from pave.evaluate.probe_pooling import pool, pooled_clips
from pave.evaluate.probe_words import Vocabulary
from pave.evaluate.token_probe import probe
from pave.tokens import Tokens

NAMES = ("bell", "drum", "harp", "lute")
QUARTERS = 4
TRAIN = 100


def _clip(bright: list[str], order: random.Random) -> Tokens:
    """One token a step: every quarter of the clip has each name once, in random order.

    A token is the name's own feature and +1 or -1 for bright or dark. Two names of four are bright,
    so that every quarter has the same mean and the same maximum, whichever they are.
    """
    rows = []
    for _ in range(QUARTERS):
        for name in order.sample(NAMES, len(NAMES)):
            row = [0.0] * (len(NAMES) + 1)
            row[NAMES.index(name)] = 1.0
            row[-1] = 1.0 if name in bright else -1.0
            rows.append(row)
    return Tokens(torch.tensor(rows)[:, None], torch.arange(len(rows)))


def _world(number: int) -> tuple[dict[str, Tokens], list[Example]]:
    """Clips, each with two questions about single names and one about two of them."""
    clips: dict[str, Tokens] = {}
    examples: list[Example] = []
    order = random.Random(1)
    for row in range(number):
        clip = f"{row:03d}"
        bright = order.sample(NAMES, 2)
        dark = [name for name in NAMES if name not in bright]
        clips[clip] = _clip(bright, order)
        one, other = order.choice(bright), order.choice(dark)
        examples.append(Example(clip, f"Is the {one} bright?", "yes", "bright"))
        examples.append(Example(clip, f"Is the {other} bright?", "no", "bright"))
        pair = order.sample([one, other], 2)
        question = f"Which is brighter, the {pair[0]} or the {pair[1]}?"
        examples.append(Example(clip, question, one, "brighter"))
    return clips, examples


def _split() -> tuple[dict[str, Tokens], dict[str, Tokens], list[Example], list[Example]]:
    clips, examples = _world(TRAIN + 40)
    names = list(clips)
    train = {name: clips[name] for name in names[:TRAIN]}
    asked = {name: clips[name] for name in names[TRAIN:]}
    learnt = [example for example in examples if example.clip in train]
    questions = [example for example in examples if example.clip in asked]
    return train, asked, learnt, questions


def _share(said: list[str], asked: list[Example], family: str) -> float:
    right = []
    for text, example in zip(said, asked, strict=True):
        if example.family == family:
            right.append(text == example.answer)
    return sum(right) / len(right)


def test_what_pooling_blurs_is_read_by_attention() -> None:
    train, asked, learnt, questions = _split()
    vectors = pool([*train.values(), *asked.values()])
    # All clips are one and the same once they are pooled, so no pooled probe can be right.
    assert torch.equal(vectors, vectors[:1].expand_as(vectors))
    own = [example for example in learnt if example.family == "bright"]
    wanted = [example for example in questions if example.family == "bright"]
    blurred = probe("mlp", pooled_clips(train, asked), own, wanted)
    # Each name is asked about with one answer to two questions: by the name alone it is a coin.
    assert 0.3 <= _share(blurred, wanted, "bright") <= 0.7
    said = attend(memory_of(train, asked), learnt, questions)
    assert _share(said, questions, "bright") >= 0.9
    assert _share(said, questions, "brighter") >= 0.9


def test_a_place_and_a_moment_are_read() -> None:
    """A single step of eight lights up at one of nine places: when and where, of equal tokens."""
    draws = random.Random(2)
    clips: dict[str, Tokens] = {}
    examples: list[Example] = []
    for number in range(160):
        clip = f"{number:03d}"
        step, place = draws.randrange(8), draws.randrange(9)
        values = torch.zeros(8, 9, 1)
        values[step, place] = 1.0
        clips[clip] = Tokens(values, torch.arange(8))
        column = ("left", "middle", "right")[place % 3]
        half = "early" if step < 4 else "late"
        examples.append(Example(clip, "On which side?", column, "side"))
        examples.append(Example(clip, "When?", half, "when"))
    names = list(clips)
    train = {name: clips[name] for name in names[:120]}
    asked = {name: clips[name] for name in names[120:]}
    learnt, questions = examples[:240], examples[240:]
    said = attend(memory_of(train, asked), learnt, questions)
    assert _share(said, questions, "side") >= 0.95
    assert _share(said, questions, "when") >= 0.9


def test_what_is_not_there_is_not_found_and_the_seed_alone_draws() -> None:
    draws = torch.Generator().manual_seed(3)
    clips: dict[str, Tokens] = {}
    examples: list[Example] = []
    for number in range(120):
        clip = f"{number:03d}"
        clips[clip] = Tokens(torch.randn(4, 2, 6, generator=draws), torch.arange(4))
        coin = int(torch.randint(0, 2, (), generator=draws))
        examples.append(Example(clip, "Which?", ("no", "yes")[coin], "coin"))
    names = list(clips)
    train = {name: clips[name] for name in names[:60]}
    asked = {name: clips[name] for name in names[60:]}
    before = torch.random.get_rng_state()
    memory = memory_of(train, asked)
    said = attend(memory, examples[:60], examples[60:])
    assert attend(memory_of(train, asked), examples[:60], examples[60:]) == said
    assert torch.equal(torch.random.get_rng_state(), before)
    assert 0.3 <= _share(said, examples[60:], "coin") <= 0.7


def test_clips_may_differ_in_steps_and_places() -> None:
    shapes = [(3, 2), (1, 5), (2, 2)]
    train = {}
    for number, (steps, places) in enumerate(shapes):
        values = torch.full((steps, places, 2), float(number))
        train[str(number)] = Tokens(values, torch.arange(steps))
    memory = memory_of(train, {"x": train["1"]})
    assert (~memory.seen.absent).sum(1).tolist() == [6, 5, 4, 5]
    assert memory.seen.moments[0].tolist() == [0, 0, 1, 1, 2, 2]
    assert memory.seen.places[0].tolist() == [0, 1, 0, 1, 0, 1]
    # The one direction: -1, 0 and 1 about the tokens' mean, whichever way it points.
    one, two, three = memory.seen.values[:3, 0, 0].tolist()
    assert two - one == pytest.approx(three - two, rel=1e-4)


def test_thinning_by_hand() -> None:
    """Forty-eight steps become 24 means of two; an 8 x 8 grid becomes 4 x 4 means of four."""
    steps = torch.arange(48.0)[:, None, None]
    assert thinned(steps)[:, 0, 0].tolist() == [2 * step + 0.5 for step in range(MOMENTS)]
    grid = torch.arange(64.0)[None, :, None]
    # Cells 0, 1, 8 and 9 are the first; the next lie two columns on.
    assert fewer_places(grid, 16)[0, :2, 0].tolist() == [4.5, 6.5]
    row = torch.arange(32.0)[None, :, None]  # no square: pairs
    assert fewer_places(row, 16)[0, :2, 0].tolist() == [0.5, 2.5]


def test_answers_stay_within_the_family() -> None:
    train = [Example("a", "Q", "one", "count"), Example("a", "P", "left", "side")]
    vocabulary = Vocabulary(train)
    assert vocabulary.answers == ["left", "one"] and vocabulary.families == ["count", "side"]
    assert vocabulary.possible(train).tolist() == [[False, True], [True, False]]
    # Words by frequency and then by letters: left, one, p, q are 2 to 5; others are unknown.
    assert vocabulary.numbers("Q, what?").tolist() == [5, 1]
    # A single clip leaves nothing to choose an epoch by: the most frequent answer is given.
    tokens = Tokens(torch.ones(2, 1, 3), torch.arange(2))
    memory = memory_of({"a": tokens}, {"x": tokens})
    assert attend(memory, train, [Example("x", "P", family="side")]) == ["left"]
