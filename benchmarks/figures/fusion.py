"""The fusion function at LLaVA-OneVision-7B sizes against the matrix products that it cannot avoid.

Ours: `Fusion` on ready tokens, forward alone (`no_grad`) or forward and backward into its
parameters, with the room `cpu` on (`pave.cpu.speed_up`); the note says how the plain module does.
Peer: the bare products of the same shapes and dtype, one after the other with nothing between them:

- forward: each linear map once (side map, query map, a block's query, key, value and two MLP maps,
  the output MLP), and for each group of side steps `Q K'` and `P V`;
- backward: for each linear map the weight's gradient and, where something behind it needs one, the
  input's (the two maps at the entrance read frozen tokens: none), and for each group the four
  products of attention (to P, V, Q and K).

Groups of a ragged batch have the number of steps that they have: no padding is in the peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise, product
from statistics import median

import torch
from harness import Pair, Row, peak_growth, spent
from torch import Tensor

from pave import Fusion, FusionConfig, cpu

CONFIG = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
FRAMES, CELLS, REPEATS = 32, 196, 3
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """Side steps of each clip of a batch, and side tokens of a step."""

    name: str
    steps: tuple[int, ...]
    tokens: int = 1


CASES = (
    Case("sound, T=100", (100,)),
    Case("sound, T=1,000", (1000,)),
    Case("3D, 32 x 576", (32,), 576),
    Case("sound, 2 clips, T=100 and 40", (100, 40)),
)


def linears(case: Case) -> Iterator[tuple[int, int, int, bool]]:
    """(rows, inputs, outputs, whether the input needs a gradient) of every linear map."""
    c = CONFIG
    queries, side = len(case.steps) * FRAMES * CELLS, sum(case.steps) * case.tokens
    yield side, c.side_dim, c.memory_dim, False
    yield queries, c.query_dim, c.hidden, False
    for _ in range(c.layers):
        yield queries, c.hidden, c.hidden, True
        for _ in range(1 if c.tie_kv else 2):
            yield side, c.memory_dim, c.hidden, True
        yield queries, c.hidden, 2 * c.hidden, True
        yield queries, 2 * c.hidden, c.hidden, True
    for inputs, outputs in pairwise(c.output_widths):
        yield queries, inputs, outputs, True


def groups(case: Case) -> Iterator[tuple[int, int]]:
    """(frames, keys of each) for all frames of a batch, those with equally many keys together."""
    keys = sorted(
        (t // FRAMES + (i < t % FRAMES)) * case.tokens for t in case.steps for i in range(FRAMES)
    )
    yield from ((len(list(same)), length) for length, same in groupby(keys))


def products(case: Case, dtype: torch.dtype, backward: bool) -> Callable[[], None]:
    """The bare products on ready tensors."""

    def made(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype)

    jobs: list[tuple[Callable[[Tensor, Tensor], Tensor], Tensor, Tensor]] = []
    for rows, inputs, outputs, deep in linears(case):
        x, weight, out = made(rows, inputs), made(outputs, inputs), made(rows, outputs)
        jobs.append((torch.mm, x, weight.T))
        if backward:
            jobs.append((torch.mm, out.T, x))
            jobs += [(torch.mm, out, weight)] if deep else []
    for frames, keys in groups(case):
        query, key = (
            made(frames * CONFIG.heads, CELLS, CONFIG.head_dim),
            made(frames * CONFIG.heads, keys, CONFIG.head_dim),
        )
        weights = made(frames * CONFIG.heads, CELLS, keys)
        block = [(torch.bmm, query, key.mT), (torch.bmm, weights, key)]
        if backward:
            block += [(torch.bmm, query, key.mT), (torch.bmm, weights.mT, query)]  # to P and V
            block += [(torch.bmm, weights, key), (torch.bmm, weights.mT, query)]  # to Q and K
        jobs += block * CONFIG.layers

    def run() -> None:
        for multiply, left, right in jobs:
            multiply(left, right)

    return run


def fused(case: Case, dtype: torch.dtype, backward: bool, fast: bool) -> Callable[[], None]:
    """`Fusion` on ready tokens, with the room `cpu` on or off."""
    fusion = Fusion(CONFIG).to(dtype)
    if fast:
        cpu.speed_up(fusion)
    query = [torch.randn(FRAMES, CELLS, CONFIG.query_dim, dtype=dtype) for _ in case.steps]
    side = [torch.randn(steps, case.tokens, CONFIG.side_dim, dtype=dtype) for steps in case.steps]
    gradient = [torch.randn(FRAMES, CELLS, CONFIG.out_dim, dtype=dtype) for _ in case.steps]

    def forward() -> None:
        with torch.no_grad():
            fusion(query, side)

    def both() -> None:
        torch.autograd.backward(fusion(query, side), gradient)
        fusion.zero_grad()

    return both if backward else forward


def row(case: Case, kind: str, backward: bool) -> Row:
    """One case, its three sides measured in turn."""
    dtype = DTYPES[kind]
    sides = (
        fused(case, dtype, backward, fast=True),
        fused(case, dtype, backward, fast=False),
        products(case, dtype, backward),
    )
    with peak_growth() as peak:
        sides[0]()
        memory = peak()
    for side in sides[1:]:
        side()
    times: tuple[list[float], ...] = ([], [], [])
    for turn in range(REPEATS):
        for i in range(len(sides)):
            # Each side comes first once: what ran before decides which pages the allocator has.
            place = (turn + i) % len(sides)
            times[place].append(spent(sides[place]))
    on, off, bare = map(median, times)
    note = f"off {off / bare:.2f}, on to off {on / off:.2f}, peak {memory:,.0f} MB"
    way = "forward and backward" if backward else "forward"
    figure = f"fusion: {case.name}, {kind}, {way}"
    return Row.cost(figure, Pair(on, bare, REPEATS), promise=1.3, note=note)


def measure() -> list[Row]:
    """All cases, both dtypes, with and without the backward pass."""
    torch.manual_seed(0)
    rows = []
    for case, kind in product(CASES, DTYPES):
        rows += [row(case, kind, backward=False), row(case, kind, backward=True)]
    return rows
