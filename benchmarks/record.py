"""Put measured results into README.md and docs/results.md, between their markers, from the `results.json` files of `pave demo`.

    python benchmarks/record.py outputs/demo/results.json
    python benchmarks/record.py outputs/results/seed-*/results.json     # mean over seeds, smallest and largest beside it

Nobody types a number: rerun the command and run this again.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HEADLINES = {"all": "all questions", "sound": "needs sound", "visual": "visual control"}


def between_marks(page: str, mark: str, text: str) -> str:
    """`page` with the lines between `<!-- mark:start -->` and `<!-- mark:end -->` replaced.

    Raises:
        SystemExit: If the page has no such markers.
    """
    pattern = re.compile(rf"(<!-- {mark}:start -->\n).*?(<!-- {mark}:end -->)", re.DOTALL)
    if not pattern.search(page):
        raise SystemExit(f"the page has no markers <!-- {mark}:start --> and <!-- {mark}:end -->")
    return pattern.sub(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)


def spread(values: list[float], sign: str = "") -> str:
    """`61.0` for one run, `61.0 (58.2 to 63.1)` for several; in points of 100."""
    points = [100 * value for value in values]
    mean = f"{statistics.mean(points):{sign}.1f}"
    return mean if len(points) == 1 else f"{mean} ({min(points):{sign}.1f} to {max(points):{sign}.1f})"


def interval(rows: list[dict[str, Any]]) -> str:
    """The 95 % interval of one run; of several runs, the widest hull of theirs."""
    low, high = min(row["ci95"][0] for row in rows), max(row["ci95"][1] for row in rows)
    return f"{100 * low:+.1f} to {100 * high:+.1f}"


def pick(runs: list[dict[str, Any]], table: str, **wanted: str) -> list[dict[str, Any]]:
    """The matching row of each run, for those that have one."""
    return [row for run in runs for row in run[table] if all(row[key] == value for key, value in wanted.items())]


def families(runs: list[dict[str, Any]], headlines: bool) -> list[str]:
    """Question families in the order of the first run; the groups alone for the README."""
    names = dict.fromkeys(row["family"] for row in runs[0]["arms"])
    return [name for name in names if name in HEADLINES or not headlines]


def accuracy_table(runs: list[dict[str, Any]], headlines: bool) -> list[str]:
    """One line a question family: how many, and every arm's accuracy."""
    arms = list(dict.fromkeys(row["arm"] for row in runs[0]["arms"]))
    lines = [f"| questions | n | {' | '.join(arms)} |", "|---" * (len(arms) + 2) + "|"]
    for family in families(runs, headlines):
        cells = [pick(runs, "arms", arm=arm, family=family) for arm in arms]
        shown = [spread([row["accuracy"] for row in rows]) if rows else "" for rows in cells]
        lines.append(f"| {HEADLINES.get(family, family)} | {cells[0][0]['n'] if cells[0] else ''} | {' | '.join(shown)} |")
    return lines


def difference_table(runs: list[dict[str, Any]], headlines: bool) -> list[str]:
    """One line a paired comparison: difference in points with its interval."""
    pairs = dict.fromkeys((row["family"], row["a"], row["b"]) for row in runs[0]["paired"])
    lines = ["| questions | comparison | points | 95 % interval, paired |", "|---|---|---|---|"]
    for family, a, b in pairs:
        if family in families(runs, headlines):
            rows = pick(runs, "paired", family=family, a=a, b=b)
            points = spread([row["difference"] for row in rows], "+")
            lines.append(f"| {HEADLINES.get(family, family)} | {a} minus {b} | {points} | {interval(rows)} |")
    return lines


def summary(runs: list[dict[str, Any]], headlines: bool = False) -> str:
    """The block that goes between the markers."""
    total = statistics.mean(sum(run["seconds"].values()) for run in runs)
    seeds = ", ".join(dict.fromkeys(str(seed) for run in runs for seed in run["seeds"].values()))
    minutes = f"{total / 60:.0f} min" if total > 90 else f"{total:.0f} s"
    memory = f"{max(run['peak_rss_mb'] for run in runs) / 1024:.1f} GB"
    several = f" Mean of {len(runs)} seeds, smallest and largest beside it." if len(runs) > 1 else ""
    cost = f"`{runs[0]['command']}`, seed {seeds}: {minutes}, {memory}."
    note = f"Accuracy in percent on held-out clips, exact match.{several} {cost}"
    return "\n".join([*accuracy_table(runs, headlines), "", *difference_table(runs, headlines), "", note])


def main() -> None:
    """Read the files and fill both pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one or more runs")
    runs = [json.loads(path.read_text("utf-8")) for path in parser.parse_args().results]
    for page, headlines in ((ROOT / "README.md", True), (ROOT / "docs" / "results.md", False)):
        page.write_text(between_marks(page.read_text("utf-8"), "results", summary(runs, headlines)), "utf-8")
    print(summary(runs))


if __name__ == "__main__":
    main()
