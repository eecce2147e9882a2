"""`make budget`: points that differ in one thing, runs that go on, a page of what is finished."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pave.data import Record, Turn, write_records
from pave.evaluate.arm_files import row_of, write_rows
from pave.tasks import EXACT, get_task
from pave_world.demo.config import DemoConfig

CLIPS = 8


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def middle_of(out: Path, channel: str = "audio", **more: Any) -> DemoConfig:
    settings = {"channel": channel, "seed": 0, "steps": 10, "out": out / channel, **more}
    return DemoConfig.model_validate(settings).resolved()


def records_of(middle: DemoConfig) -> list[Record]:
    """A question a clip that needs the channel, and one that does not."""
    return [
        Record(
            id=f"{clip}-{need}",
            video=f"{clip}.mp4",
            turns=[Turn(question="What?", answer="dog")],
            meta={"channel": need, "family": need},
        )
        for clip in range(CLIPS)
        for need in (middle.channel, "video")
    ]


def finish(middle: DemoConfig, run: str, right: int) -> None:
    """A run without the running: right on so many clips, where the channel is needed."""
    records = records_of(middle)
    file = middle.world("test") / "records.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_records(file, records)
    said = [
        "dog" if record.meta["channel"] == middle.channel and number // 2 < right else "cat"
        for number, record in enumerate(records)
    ]
    out = middle.out / "eval" / run
    out.mkdir(parents=True)
    task = get_task(EXACT)
    rows = [row_of(task, record, "patch", text) for record, text in zip(records, said, strict=True)]
    write_rows(out / "patch.jsonl", rows)
    (out / "results.json").write_text("{}")


@pytest.mark.parametrize("channel", ["audio", "scene3d"])
def test_every_point_differs_from_the_middle_in_one_setting(tmp_path: Path, channel: str) -> None:
    from budget import runs_of
    from budget_points import AXES, points

    middle = middle_of(tmp_path, channel)
    found = points(middle)
    assert [point.axis for point in found].count("") == 1
    assert {point.axis for point in found} == {"", *AXES}
    assert len({point.name for point in found}) == len(found)
    base = runs_of(middle, found[0])["middle"].model_dump(exclude={"out"})
    for point in found[1:]:
        runs = runs_of(middle, point)
        control, patch = runs[point.control], runs[point.name]
        changed = {
            key for key, value in patch.model_dump(exclude={"out"}).items() if value != base[key]
        }
        kind = {"scale": "lora", "rank": "lora", "side": "encoder_settings"}
        assert changed == {kind.get(point.axis, "fusion")}, point
        # The control is the same but for the channel.
        assert control.lora == patch.lora and control.steps == patch.steps
        assert control.channel is None and patch.channel == channel


def test_scales_are_those_of_the_names(tmp_path: Path) -> None:
    from budget_points import points

    scales = {}
    for point in points(middle_of(tmp_path)):
        lora = point.config(middle_of(tmp_path)).lora
        if point.axis == "scale":
            assert lora.rank == 16
            scales[point.name] = lora.alpha / (lora.rank**0.5 if lora.use_rslora else lora.rank)
        elif point.axis == "rank":
            assert lora.alpha / lora.rank == 2 and str(lora.rank) == point.value
    assert scales == {"scale-0.25": 0.25, "scale-1": 1.0, "scale-8": 8.0}


@pytest.mark.parametrize(("channel", "steps"), [("audio", 20), ("scene3d", 2)])
def test_side_tokens_a_second_are_those_of_the_encoder(
    tmp_path: Path, channel: str, steps: int
) -> None:
    """Of a clip of four seconds: mel tokens by step, depth by frames of 3 x 3 cells."""
    from budget_points import middle_value, points

    middle = middle_of(tmp_path, channel)
    first, *_ = points(middle)
    assert first.side == (steps, 1 if channel == "audio" else 9)
    assert middle_value(middle, "side") == f"{first.side[0] * first.side[1] / 4:g}"


def test_an_interrupted_budget_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import budget
    import runs
    from budget_points import points

    middle = middle_of(tmp_path, train_clips=3, test_clips=2)
    for split in ("train", "test"):
        file = middle.world(split) / "records.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text("")
    monkeypatch.setattr(budget, "encode_clips", lambda *_: None)
    asked: list[tuple[str, str]] = []

    def run(words: Sequence[str], cost: Path | None = None) -> bool:
        verb = words[0]
        place = Path(words[words.index("--config" if verb == "train" else "--out") + 1])
        asked.append((verb, place.stem))
        if len(asked) == 2:
            return False  # killed
        done = place.parent / place.stem / "patch" / "patch.json"
        if verb == "eval":
            done = place / "results.json"
        done.parent.mkdir(parents=True)
        done.write_text("{}")
        return True

    monkeypatch.setattr(runs, "run", run)
    first, second, *_ = points(middle)
    assert not budget.run_point(middle, first)
    assert budget.run_point(middle, first) and budget.run_point(middle, first)
    width = next(point for point in points(middle) if point.name == "width-64")
    assert budget.run_point(middle, width)
    assert asked == [
        ("train", "LoRA-middle"),
        ("eval", "LoRA-middle"),  # which was killed
        ("eval", "LoRA-middle"),
        ("train", "middle"),
        ("eval", "middle"),
        ("train", "width-64"),  # its control is that of the middle
        ("eval", "width-64"),
    ]
    other = middle.model_copy(update={"steps": 11})
    with pytest.raises(SystemExit, match="other settings"):
        budget.run_point(other, second)


def test_the_page_says_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import budget_page

    middle = middle_of(tmp_path)
    for run, right in (("LoRA-middle", 2), ("middle", 6), ("width-64", 4), ("rank-4", 8)):
        finish(middle, run, right)
    costs = {"middle": 3.0, "width-64": 2.0, "rank-4": 1.0}
    monkeypatch.setattr(
        budget_page,
        "_cost",
        lambda _, point: dict.fromkeys(budget_page.COSTS, costs[point.name]),
    )
    rows = budget_page.measured(middle)
    # Rank 4 has no control yet, so it is not shown.
    assert [row.point.name for row in rows] == ["middle", "width-64"]
    text = budget_page.section(middle, rows)
    assert text.startswith("8 questions that need sound, about 8 held-out clips")
    of_middle, of_width = text.splitlines()[-2:]
    # 6 of 8 and 2 of 8; 4 of 8.
    assert of_middle.startswith("| (middle) |  | 3.00 M | 3.00 G | 3 | 25.0 | 75.0 | +50.0 (")
    assert "| 25.0 | 50.0 | +25.0 (" in of_width and "| -25.0 (" in of_width
    # The figure is drawn from the table.
    page = f"<!-- budget-audio:start -->\n\n{text}\n\n<!-- budget-audio:end -->\n| (middle) |"
    points = budget_page.drawn(page, "audio")
    assert [(point.axis, point.value) for point in points] == [("", ""), ("width", "64")]
    curve = budget_page.curve(points, "width", "seconds")
    assert [(point.cost["seconds"], point.patch) for point in curve] == [(2.0, 50.0), (3.0, 75.0)]
    assert {point.control for point in curve} == {25.0}
    assert budget_page.curve(points, "rank", "seconds") == []
    assert budget_page.drawn(page, "scene3d") == []


def test_no_two_labels_of_the_figure_share_a_place(tmp_path: Path) -> None:
    """The middle is a point of every axis, and has one label for all of them."""
    pytest.importorskip("matplotlib")
    import budget_page
    from matplotlib.figure import Figure

    page = budget_page.PAGE.read_text("utf-8")
    axes = Figure().subplots()
    rows = budget_page.drawn(page, "audio")
    budget_page._draw_panel(axes, middle_of(tmp_path), rows, "parameters")
    places = [label.xy for label in axes.texts]
    assert len(places) == len(rows) == len(set(places))
    assert "2 / 256" in [label.get_text() for label in axes.texts]
    plot = tmp_path / "budget.png"
    budget_page.draw([middle_of(tmp_path), middle_of(tmp_path, "scene3d")], page, plot)
    assert plot.stat().st_size > 10_000


@pytest.mark.slow
def test_a_cost_is_what_the_settings_take(tmp_path: Path) -> None:
    """Parameters counted by hand: 135M's four projections of 30 layers, at rank 16."""
    import budget
    import budget_page
    import yaml
    from budget_points import points

    middle = middle_of(tmp_path)
    (point, *_) = points(middle)
    folder = middle.out / "runs"
    folder.mkdir(parents=True)
    settings = budget.runs_of(middle, point)["middle"]
    values = settings.model_dump(mode="json", exclude_defaults=True)
    (folder / "middle.yaml").write_text(yaml.safe_dump(values))
    (folder / "middle.json").write_text(json.dumps({"cpu_seconds": 12.5}))
    cost = budget_page._cost(middle, point)
    # Hidden 576; q and o are 576 x 576, k and v 576 x 192.
    lora = 30 * 16 * (2 * (576 + 576) + 2 * (576 + 192))
    assert lora == 1_843_200  # what docs/results.md says
    assert cost["seconds"] == 12.5
    assert cost["parameters"] == pytest.approx(3_585_216 / 1e6)  # docs/results.md, sound
    assert cost["operations"] > 2 * lora * 36 / 1e9
