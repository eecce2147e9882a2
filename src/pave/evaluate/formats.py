r"""Comparisons for papers and programs: Markdown, LaTeX and CSV.

Tables for people are in points, times 100, as papers print them. CSV is for programs: fractions in
full, an end of an interval in a column of its own, as in JSON.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from pave.evaluate.table import comparison_table
from pave.tasks.compare import Comparison

COLUMNS = ("label", "score", "n", "videos", "a", "b", "difference", "ci95_low", "ci95_high", "p")
"""Of the CSV."""
# LaTeX takes these characters for commands; the backslash is the first of them.
_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        # A star behind an interval is a mark, and stands high as in print.
        "*": "$^{*}$",
    }
)
# Markdown: the end of a cell, and emphasis.
_MARKDOWN = str.maketrans({"|": r"\|", "*": r"\*"})
# Titles with signs of arithmetic; the others hold nothing that LaTeX would obey.
_TITLES = {"b - a": "b $-$ a", "95 % interval": r"95\,\% interval", "p": "$p$"}
_LEFT = 2  # columns of words; figures are aligned to the right


def as_markdown(rows: Sequence[Comparison]) -> str:
    """A table for GitHub, a model card or a wiki."""
    header, cells = comparison_table(rows)
    lines = [_line(header), _line(["---"] * _LEFT + ["---:"] * (len(header) - _LEFT))]
    lines += map(_line, cells)
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    """One row of a Markdown table."""
    written = [cell.translate(_MARKDOWN) for cell in cells]
    return f"| {' | '.join(written)} |"


def as_latex(rows: Sequence[Comparison]) -> str:
    r"""A `tabular` with the rules of the package booktabs.

    Example:
        >>> print(as_latex([]))
        \begin{tabular}{llrrrrrrr}
        \toprule
        questions & score & n & videos & a & b & b $-$ a & 95\,\% interval & $p$ \\
        \midrule
        \bottomrule
        \end{tabular}
    """
    header, cells = comparison_table(rows)
    titles = [_TITLES.get(title, title) for title in header]
    lines = [
        rf"\begin{{tabular}}{{{'l' * _LEFT}{'r' * (len(header) - _LEFT)}}}",
        r"\toprule",
        rf"{' & '.join(titles)} \\",
        r"\midrule",
    ]
    for row in cells:
        words = map(_escaped, row[:_LEFT])
        figures = map(_figure, row[_LEFT:])
        lines.append(rf"{' & '.join([*words, *figures])} \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text in which no character commands LaTeX."""
    return text.translate(_LATEX)


def _figure(cell: str) -> str:
    """A number or an interval, with signs that are as wide as those of arithmetic."""
    return _escaped(cell.strip()).replace("-", "$-$").replace("+", "$+$").replace(" to ", " to~")


def as_csv(rows: Sequence[Comparison]) -> str:
    """Fractions for a spreadsheet or pandas; empty where there is no interval.

    Example:
        >>> print(as_csv([]))
        label,score,n,videos,a,b,difference,ci95_low,ci95_high,p
    """
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        low, high = row.ci95 or ("", "")
        counts = [_cell(row.label), _cell(row.score), row.n, row.clusters]
        writer.writerow([*counts, row.a, row.b, row.difference, low, high, row.p])
    return target.getvalue().rstrip("\n")


def _cell(text: str) -> str:
    """A label that a spreadsheet would take for a formula is marked as text."""
    if text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{text}"
    return text


FORMATS: dict[str, Callable[[Sequence[Comparison]], str]] = {
    "markdown": as_markdown,
    "latex": as_latex,
    "csv": as_csv,
}
"""Name -> how rows are written."""
