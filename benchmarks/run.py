"""Run the benchmark: every figure in a fresh process, one table, `outputs/bench/results.json`.

    python benchmarks/run.py                  # make bench
    python benchmarks/run.py fusion media     # figures whose name begins so
    python benchmarks/run.py train_step:smol-32   # cases of a figure whose name begins so
    python benchmarks/run.py --write          # also record the tables in docs/performance.md and,
                                              # with all figures, draw docs/assets/growth.svg
    python benchmarks/run.py --list

How a figure is written: `benchmarks/harness.py`. Rows of figures that are not run stay in the
results file as they were. A figure that fails does not stop the others; the exit code is 1 then. A
figure with `PARTS` has a process for each, whose rows are printed and kept when it ends.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
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


def cases_of(name: str) -> list[str]:
    """A figure's `PARTS`, read and not imported; an empty name where it has none."""
    source = (Path(__file__).parent / "figures" / f"{name}.py").read_text("utf-8")
    for line in ast.parse(source).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "PARTS":
            return list(ast.literal_eval(line.value))
    return [""]


def parts(wanted: list[str]) -> list[tuple[str, str]]:
    """(figure, case) of all that begins as one of the wanted words does; of everything for none."""
    found = [(name, case) for name in names() for case in cases_of(name)]
    if not wanted:
        return found
    return [(name, case) for name, case in found if f"{name}:{case}".startswith(tuple(wanted))]


def measure(name: str, case: str) -> list[Row]:
    """Called in a fresh process."""
    figure = importlib.import_module(f"figures.{name}")
    rows: list[Row] = figure.measure(case) if case else figure.measure()
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
    held = os.environ.get("ATEN_CPU_CAPABILITY")
    if held:  # a lesser processor is emulated
        return f"{name}, held to {held}"
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if unit in about]
    return f"{name} with {' and '.join(units)}" if units else f"{name}, no bf16 units"


def kept() -> list[dict[str, Any]]:
    """Rows of the results file."""
    if not RESULTS.exists():
        return []
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text("utf-8"))
    return found


def keep(name: str, case: str, found: list[Row]) -> None:
    """Put a case's rows in place of its older ones of this machine in the results file."""
    ours = (name, case, machine())
    rows = [row for row in kept() if _key(row) != ours]
    where = {"bench": name, "case": case, "machine": machine()}
    rows += [{**where, **asdict(row)} for row in found]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    partial = RESULTS.with_suffix(".partial")
    ordered = sorted(rows, key=lambda row: str(row["bench"]))
    partial.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
    partial.replace(RESULTS)


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["bench"], row.get("case", ""), row["machine"]


def rows_of(name: str) -> list[Row]:
    """A figure's kept rows of this machine, in the order of its cases."""
    fields = {field.name for field in dataclasses.fields(Row)}
    found = []
    for case in cases_of(name):
        ours = (name, case, machine())
        rows = [row for row in kept() if _key(row) == ours]
        found += [Row(**{key: row[key] for key in fields}) for row in rows]
    return found


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
    chosen = parts(args.figures)
    titles = [f"{name}:{case}" if case else name for name, case in chosen]
    if not chosen:
        parser.error(
            f"no figure begins with {' or '.join(args.figures)}; there are {', '.join(names())}"
        )
    if args.list:
        print("\n".join(titles))
        return 0
    found: list[Row] = []
    failed = []
    for title, (name, case) in zip(titles, chosen, strict=True):
        print(f"{title} ...", file=sys.stderr, flush=True)
        rows = fresh(measure, name, case)
        if rows is None:
            failed.append(title)
            continue
        found += rows
        keep(name, case, rows)
        if case:
            print(table(rows), file=sys.stderr, flush=True)
        if args.write:
            text = table(rows_of(name))
            record(name, f"`make bench ARGS={name}`, {machine()}.\n\n{text}")
    if args.write and not args.figures and (points := fresh(draw_growth)):
        words = "CPU seconds against frames, side tokens, clips of a batch and questions a video"
        drawing = f"![{words}](assets/growth.svg)"
        record("growth", f"`python benchmarks/growth.py`, {machine()}.\n\n{drawing}\n\n{points}")
    print(f"{machine()}\n\n{table(found)}\n\n{RESULTS.relative_to(ROOT)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
