"""Time the fusion function at the sizes of the paper against the bare matrix products that it cannot avoid.

    python benchmarks/fusion.py                # prints a table
    python benchmarks/fusion.py --write        # also puts it into docs/performance.md

`ratio` is time / time of the bare products (same shapes, nothing between them); both are measured in turn, the median counts.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from record import between_marks

from pave import Fusion, FusionConfig

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


@dataclass(frozen=True)
class Case:
    """One clip of a benchmark: frames x query tokens, side steps x side tokens."""

    name: str
    config: FusionConfig
    frames: int
    query_tokens: int
    side_steps: int
    side_tokens: int
    clips: int = 1


def cases() -> list[Case]:
    """The paper's sizes for its two bases, and the embedded base's."""
    big = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
    half = FusionConfig(side_dim=1024, query_dim=1152, out_dim=896)
    small = FusionConfig(side_dim=256, query_dim=1280, out_dim=576, hidden=256)
    return [
        Case("sound, 7B", big, 32, 196, 32, 1),
        Case("dense frames, 7B", big, 32, 196, 128, 1),
        Case("3D, 7B", big, 32, 196, 32, 576),
        Case("sound, 0.5B", half, 32, 196, 32, 1),
        Case("3D, 0.5B", half, 32, 196, 32, 576),
        Case("sound, small base, 8 clips", small, 4, 36, 20, 1, clips=8),
    ]


def products(case: Case) -> Callable[[], None]:
    """The matrix products of one forward pass, on ready tensors of the right shapes."""
    c = case.config
    queries = case.clips * case.frames * case.query_tokens
    side = case.clips * case.side_steps * case.side_tokens
    width = c.hidden
    linear = [(side, c.side_dim, c.memory_dim), (queries, c.query_dim, width)]
    for _ in range(c.layers):
        linear += [(queries, width, width), (side, c.memory_dim, width), (side, c.memory_dim, width)]
        linear += [(queries, width, 2 * width), (queries, 2 * width, width)]
    linear += [(queries, a, b) for a, b in c.output_widths()]
    pairs = [(torch.randn(rows, inner), torch.randn(inner, columns)) for rows, inner, columns in linear]
    heads = case.clips * case.frames * c.heads
    group = max(1, case.side_steps // case.frames) * case.side_tokens
    query = torch.randn(heads, case.query_tokens, c.head_dim)
    keys = torch.randn(heads, c.head_dim, group)

    def run() -> None:
        for left, right in pairs:
            left @ right
        for _ in range(c.layers):
            torch.bmm(torch.bmm(query, keys), keys.transpose(1, 2))

    return run


def fused(case: Case) -> Callable[[], None]:
    """One forward pass of the fusion function."""
    fusion = Fusion(case.config).eval()
    query = [torch.randn(case.frames, case.query_tokens, case.config.query_dim) for _ in range(case.clips)]
    side = [torch.randn(case.side_steps, case.side_tokens, case.config.side_dim) for _ in range(case.clips)]

    def run() -> None:
        fusion(query, side)

    return run


def seconds(run: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.no_grad()
def measure(case: Case, repeats: int) -> tuple[float, float]:
    """Median seconds of the fusion function and of its bare products, measured in turn."""
    ours, bare = fused(case), products(case)
    ours()
    bare()
    times = [(seconds(ours), seconds(bare)) for _ in range(repeats)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def table(repeats: int) -> str:
    """The Markdown table of all cases."""
    where = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, fp32, median of {repeats}"
    rows = [f"`python benchmarks/fusion.py`, {where}.", ""]
    rows += ["| case | parameters | GFLOP a clip | ms a batch | bare products, ms | ratio |", "|---|---|---|---|---|---|"]
    for case in cases():
        ours, bare = measure(case, repeats)
        work = case.config.flops(case.frames, case.query_tokens, case.side_steps, case.side_tokens) / 1e9
        size = f"{case.config.parameters():,}"
        rows.append(f"| {case.name} | {size} | {work:.1f} | {1000 * ours:.1f} | {1000 * bare:.1f} | {ours / bare:.2f} |")
    return "\n".join(rows)


def main() -> None:
    """Print the table and, if asked, record it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each case (default: 7)")
    parser.add_argument("--write", action="store_true", help="record the table in docs/performance.md")
    args = parser.parse_args()
    text = table(args.repeats)
    print(text)
    if args.write:
        PAGE.write_text(between_marks(PAGE.read_text("utf-8"), "bench", text), "utf-8")


if __name__ == "__main__":
    main()
