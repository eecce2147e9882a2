"""The picture of an evaluation: nothing is covered, everything can be read, numbers are right."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from helpers import finished_run
from pave.evaluate.plot import draw, figure_of
from pave.evaluate.report import Report

# As a page of 700 pixels shows a figure of 9 inches, ten points are 11 pixels.
READABLE = 10.0


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    said = {
        "base": ["a dog"] * 8,
        "LoRA-only": ["a bell", "a dog"] * 4,
        "patch": ["a bell"] * 6 + ["a dog"] * 2,
    }
    run = finished_run.make(tmp_path_factory.mktemp("run"), said, clips=8)
    return Report.model_validate_json((run / "results.json").read_text())


def test_legends_cover_nothing_and_letters_can_be_read(report: Report) -> None:
    figure = figure_of(report, {"LoRA-only": [(1, 2.0), (2, 1.0)], "patch": [(1, 1.5), (2, 0.5)]})
    figure.canvas.draw()
    parts = figure.subfigs
    assert len(parts) == 2
    for part in parts:
        (legend,) = part.legends
        frame = legend.get_window_extent()
        for axis in part.axes:
            assert not frame.overlaps(axis.get_window_extent())
            labels = [*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label]
            assert min(label.get_fontsize() for label in labels) >= READABLE
    # Rows do not run into each other.
    names = [label.get_window_extent() for label in parts[0].axes[0].get_yticklabels()]
    assert not [1 for one, two in zip(names, names[1:], strict=False) if one.overlaps(two)]


def test_dots_stand_where_the_numbers_are(report: Report) -> None:
    scores, gaps = figure_of(report).subfigs[0].axes
    assert [label.get_text() for label in scores.get_yticklabels()] == [
        "all questions  (n=8)",
        "needs sound  (n=8)",
        "exists  (n=4)",
        "heard  (n=4)",
    ]
    dots = [line for line in scores.lines if line.get_marker() == "o" and len(line.get_xdata())]
    # Base, LoRA-only and patch of all questions: none, every second, six of eight.
    first = [line.get_xdata()[0] for line in dots if round(line.get_ydata()[0]) == 0]
    assert first == [0.0, 50.0, 75.0]
    dots = [line for line in gaps.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in dots if round(line.get_ydata()[0]) == 0] == [75.0, 25.0]


def test_a_figure_is_as_wide_as_a_page(report: Report, tmp_path: Path) -> None:
    with Image.open(draw(report, tmp_path / "plot.png")) as picture:
        assert picture.width == 990
