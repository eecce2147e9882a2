"""Run the benchmark: every figure in a fresh process, one table, `outputs/bench/results.json`.

    python benchmarks/run.py                  # make bench
    python benchmarks/run.py fusion media     # figures whose name begins so
    python benchmarks/run.py --write          # also record the tables in docs/performance.md and,
                                              # with all figures, draw docs/assets/growth.svg
    python benchmarks/run.py --list

How a figure is written: `benchmarks/harness.py`. Rows of figures that are not run stay in the
results file as they were. A figure that fails does not stop the others; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import platform
import re
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import Row
from pages import between_marks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "outputs" / "bench" / "results.json"


def names() -> list[str]:
    """All figures, in alphabetical order."""
    return sorted(path.stem for path in (Path(__file__).parent / "figures").glob("[a-z]*.py"))


def measure(name: str) -> list[Row]:
    """Called in a fresh process."""
    rows: list[Row] = importlib.import_module(f"figures.{name}").measure()
    return rows


def fresh(work: Callable[..., Any], *args: Any) -> Any:
    """The result of a call in a new process, or None if it failed, which is said.

    Idle threads sleep there instead of spinning, as they do by default between two products:
    spinning is CPU time that is not work, and more of it the busier the machine is.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(work, *args).result()
    except Exception:
        traceback.print_exc()
        return None


def draw_growth() -> str:
    """Called in a fresh process; returns the points."""
    points: str = importlib.import_module("growth").main()
    return points


def number(value: float) -> str:
    """Three digits that matter: `0.0123`, `4.56`, `1,234`."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: list[Row]) -> str:
    """Markdown, readable as it is."""
    head = ["figure", "ours", "peer", "unit", "ratio", "promise", "n", "note"]
    cells = [
        [
            row.figure,
            number(row.ours),
            number(row.peer),
            row.unit,
            f"{row.ratio:.2f}",
            _promise(row),
            str(row.n),
            row.note,
        ]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in [head, *cells]) for i in range(len(head))]
    lines = [
        " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in [head, *cells]
    ]
    return "\n".join(
        f"| {line} |"
        for line in [lines[0], " | ".join("-" * width for width in widths), *lines[1:]]
    )


def _promise(row: Row) -> str:
    return row.promise if row.kept is not False else f"{row.promise}: missed"


def machine() -> str:
    """What the numbers were measured on."""
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    return f"torch {version('torch')}, {threads} threads, {_processor()}"


def _processor() -> str:
    """The CPU and its units for bf16 products: without them bf16 is far slower than fp32."""
    try:
        about = Path("/proc/cpuinfo").read_text("ascii", "replace")
    except OSError:
        return platform.machine()
    known = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", about, re.MULTILINE))
    name = platform.machine()
    if known:
        name += f" {known.get('model name')} (family {known.get('cpu family')}"
        name += f", model {known.get('model')})"
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in about]
    return f"{name} with {' and '.join(units)}" if units else f"{name}, no bf16 units"


def keep(results: dict[str, list[Row]]) -> None:
    """Merge these figures' rows into the results file; each row says which file it is from."""
    old: list[dict[str, Any]] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else []
    rows = [row for row in old if row["bench"] not in results]
    rows += [
        {"bench": name, **asdict(row), "machine": machine()}
        for name, found in results.items()
        for row in found
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    partial = RESULTS.with_suffix(".partial")
    partial.write_text(
        json.dumps(sorted(rows, key=lambda row: row["bench"]), indent=1) + "\n", "utf-8"
    )
    partial.replace(RESULTS)


def record(name: str, text: str) -> None:
    """Put one figure's text into docs/performance.md."""
    mark = f"bench:{name.replace('_', '-')}"
    PAGE.write_text(between_marks(PAGE.read_text("utf-8"), mark, text), "utf-8")


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", help="beginnings of figures' names (default: all)")
    parser.add_argument(
        "--write", action="store_true", help="record the tables in docs/performance.md"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and stop")
    args = parser.parse_args()
    chosen = [name for name in names() if not args.figures or name.startswith(tuple(args.figures))]
    if not chosen:
        parser.error(
            f"no figure begins with {' or '.join(args.figures)}; there are {', '.join(names())}"
        )
    if args.list:
        print("\n".join(chosen))
        return 0
    results: dict[str, list[Row]] = {}
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows = fresh(measure, name)
        if rows is None:
            continue
        results[name] = rows
        keep({name: rows})
        if args.write:
            record(name, f"`make bench ARGS={name}`, {machine()}.\n\n{table(rows)}")
    if args.write and not args.figures and (points := fresh(draw_growth)):
        words = "CPU seconds against frames, side tokens, clips of a batch and questions a video"
        drawing = f"![{words}](assets/growth.svg)"
        record("growth", f"`python benchmarks/growth.py`, {machine()}.\n\n{drawing}\n\n{points}")
    found = [row for rows in results.values() for row in rows]
    print(f"{machine()}\n\n{table(found)}\n\n{RESULTS.relative_to(ROOT)}")
    failed = [name for name in chosen if name not in results]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
