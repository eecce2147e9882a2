"""A run can be watched: `log.csv`, `run.html`, trackers, and `pave runs`."""

from __future__ import annotations

import csv
import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from helpers import tiny, toy
from helpers.browser import DESKTOP, PHONE, Watched, chromium
from pave.cli import main
from pave.errors import ConfigError
from pave.train import train
from pave.train.folder import LOG_NAME
from pave.train.page import POINTS, REFRESH, page, thinned
from pave.train.run_files import RunFiles, clock
from pave.train.tracking import check_trackers

ROW = {"step": 3, "loss": 1.5, "lr_lora": 0.1, "seconds": 2.0, "seconds_left": 4.0}


def _svgs(text):
    """The figures, read by an XML parser: caption -> points of each curve."""
    found = {}
    for figure in re.findall(r"<figure>.*?</figure>", text):
        tree = ElementTree.fromstring(figure)
        lines = [line.get("points").split() for line in tree.iter("polyline")]
        found[tree.find("figcaption").text] = lines
    return found


def test_a_run_leaves_a_table_and_a_page_that_agree_with_the_log(tmp_path, capsys):
    toy.records(tmp_path, clips=2, questions=1)
    for out, rank in (("runs/a", 2), ("runs/b", 4)):
        config = toy.config(tmp_path, out, steps=3, lora__rank=rank, batch_clips=1)
        train(config, base=tiny.base(), progress=False)
    folder = tmp_path / "runs" / "a"
    log = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
    with (folder / "log.csv").open() as lines:
        table = list(csv.DictReader(lines))
    assert [float(row["loss"]) for row in table] == [row["loss"] for row in log]
    assert all(float(row["tokens_per_second"]) > 0 for row in table)
    assert float(table[-1]["seconds_left"]) == 0 < float(table[0]["seconds_left"])
    text = (folder / "run.html").read_text()
    assert "finished" in text and 'http-equiv="refresh"' not in text
    figures = _svgs(text)
    assert len(figures) == 5 and [len(points) for points in figures["Gradient norm"]] == [3]

    assert main(["runs", str(tmp_path / "runs")]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "state", "step", "loss", "residual", "seconds", "lora.rank"]
    assert [(row.split()[0], row.split()[1], row.split()[-1]) for row in rows] == [
        ("a", "finished", "2"),
        ("b", "finished", "4"),
    ]
    assert main(["runs", str(tmp_path / "runs" / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["step"] == 3
    assert main(["runs", str(tmp_path / "store")]) == 2


def test_the_table_goes_on_where_a_run_resumes_and_the_page_refreshes(tmp_path):
    files = RunFiles(tmp_path, [{"step": 1, "loss": 2.0}], steps=10)
    files.add(ROW)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "1", "3"]
    assert f'http-equiv="refresh" content="{REFRESH}"' in (tmp_path / "run.html").read_text()
    # A kill came after step 3; the run goes on from step 1.
    RunFiles(tmp_path, [{"step": 1, "loss": 2.0}], steps=10)
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 2


def test_a_long_run_has_a_short_page_with_its_newest_point():
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 100_001)]
    short = thinned(rows)
    assert len(short) <= POINTS and short[-1]["step"] == 100_000
    assert len(page("long", {}, rows, live=True)) < 20_000


def test_names_reach_the_page_as_text_and_odd_numbers_not_at_all():
    odd = [{"step": 1, "loss": float("nan"), "grad_norm": None}, {"step": 2, "loss": 1.0}]
    text = page("<script>alert(1)</script>", {"a": "<b>"}, odd, live=False)
    assert "<script" not in text and "<b>" not in text
    assert [len(points) for points in _svgs(text)["Loss per answer token"]] == [1]


def test_clock_counts_hours():
    assert [clock(0), clock(59.6), clock(86_399)] == ["0:00:00", "0:01:00", "23:59:59"]


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr("pave.train.tracking.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'video-pave\[wandb\]'"):
        check_trackers(("wandb",))
    with pytest.raises(ConfigError, match="track"):
        toy.config(tmp_path, track=("wandbb",))


@pytest.mark.slow
def test_a_browser_shows_every_curve_and_the_best_validation(tmp_path):
    rows = []
    for step in range(1, 61):
        rates = {"lr_lora": 1e-4 * step, "lr_fusion": 1e-3, "grad_norm": 1.0}
        sizes = {"residual_ratio": 0.1, "tokens_per_second": 900.0}
        times = {"seconds": step, "seconds_left": 1}
        rows.append({"step": step, "loss": 3 / step, **rates, **sizes, **times})
        if step % 20 == 0:
            score = {20: 0.5, 40: 0.8, 60: 0.7}[step]
            rows.append({"step": step, "metric": "accuracy", "validation": score})
    files = RunFiles(tmp_path, rows, steps=100)
    with chromium() as browser:
        for size, dark in ((DESKTOP, False), (PHONE, True)):
            watched = Watched(browser, size, dark=dark)
            watched.page.goto((tmp_path / "run.html").as_uri())
            assert watched.page.locator("figure:visible svg").count() == 6
            figure = watched.page.locator("figure", has_text="Validation score")
            points = figure.locator("polyline").get_attribute("points").split()
            assert len(points) == 3 and figure.locator("polyline").is_visible()
            # The second of three points is the highest: y grows downwards.
            heights = [float(point.split(",")[1]) for point in points]
            assert heights[1] == min(heights)
            assert "0.8000 after step 40" in watched.page.inner_text("dl")
            assert not watched.too_wide()
            # That a page which goes on reloads is what it is for.
            assert [fault[:13] for fault in watched.faults()] == ["meta-refresh:"]
            # The page alone was loaded, and nothing went wrong.
            assert watched.asked == [watched.page.url] and not watched.wrong
            assert watched.page.locator("meta[http-equiv=refresh]").count() == 1
            watched.context.close()
    files.close("finished")
    assert 'http-equiv="refresh"' not in (tmp_path / "run.html").read_text()
