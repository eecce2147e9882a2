"""Tables of a comparison in other programs' formats, read back by a reader that is not ours."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from pave.cli import main
from pave.evaluate.formats import COLUMNS, as_csv, as_latex, as_markdown
from pave.tasks.compare import Comparison

ROWS = [
    Comparison("accuracy", "all", 40, 20, 0.25, 0.5, 0.25, (0.1, 0.4), 0.0123),
    Comparison("em_1", r"50% of {a} & \b|c #_~^$", 8, 4, 0.5, 0.25, -0.25, None, 1.0),
    Comparison("accuracy", "=SUM(A1)", 40, 8, 0.1, 0.2, 0.1, (-0.05, 0.2), 0.3),
]


def test_csv_holds_every_number_in_full() -> None:
    found = list(csv.DictReader(as_csv(ROWS).splitlines()))
    assert tuple(found[0]) == COLUMNS
    assert float(found[0]["ci95_low"]) == 0.1
    assert float(found[1]["difference"]) == -0.25
    assert found[1]["ci95_low"] == ""
    assert found[1]["label"] == ROWS[1].label
    # A spreadsheet would run this cell.
    assert found[2]["label"] == "'=SUM(A1)"


def test_markdown_has_as_many_cells_in_every_row() -> None:
    lines = as_markdown(ROWS).splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {9}
    assert cells[2][-2].strip() == "+10.0 to +40.0"


def test_latex_escapes_what_would_be_a_command() -> None:
    lines = as_latex(ROWS).splitlines()
    assert lines[0] == r"\begin{tabular}{llrrrrrrr}"
    assert lines[4] == (
        r"all & accuracy & 40 & 20 & 25.0 & 50.0 & $+$25.0 & $+$10.0 to~$+$40.0 & 0.0123 \\"
    )
    row = lines[5].removesuffix(r" \\")
    label = r"50\% of \{a\} \& \textbackslash{}b|c \#\_\textasciitilde{}\textasciicircum{}\$"
    assert row.startswith(f"{label} & em\\_1 & ")
    # Eight ampersands that separate cells, and the escaped one.
    assert len(re.findall(r"(?<!\\)&", row)) == 8
    assert row.endswith("$-$25.0 & $^{*}$ & 1.0000")


def rows_file(path: Path, right: str) -> Path:
    lines = [
        json.dumps({"id": str(place), "cluster": str(place), "labels": [], "correct": mark == "1"})
        for place, mark in enumerate(right)
    ]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_the_verb_prints_the_table_alone(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = rows_file(tmp_path / "a.jsonl", "0101010"), rows_file(tmp_path / "b.jsonl", "111111")
    words = ["compare", str(a), str(b), "--resamples", "100", "--format", form]
    assert main(words) == 0
    shown = capsys.readouterr()
    if form == "json":
        assert json.loads(shown.out)["shared"] == 6
    elif form == "text":
        assert "1 only in a: 6" in shown.out
    else:
        assert "6 questions in both" not in shown.out
        assert "pave: 6 questions are in both" in shown.err
        assert "only in a, and not compared: 1 question" in shown.err
    assert main([*words, "--json"]) == (0 if form in ("text", "json") else 2)
