"""Items, rows, report page and the measuring of memory and time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.answer.batches import by_length, cut
from pave.cli.settings import take_config
from pave.data import Record, Turn, clip_key
from pave.data.features import UnusableClipsError
from pave.errors import ConfigError, RecordError
from pave.evaluate import asking
from pave.evaluate.arm_files import append_rows, claim, read_rows, row_of
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import PeakMemory, Stopwatch, tree_megabytes, versions
from pave.evaluate.old_results import with_task
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, markdown, table
from pave.evaluate.scores import Asked, score_arms
from pave.evaluate.table import row_title
from pave.tasks import EXACT, Item, get_task
from pave.tasks.exact import channel_and_family
from pave.tasks.items import items_of
from pave.tasks.score import score_items


def _record(clip: str, number: int = 0, **meta: str) -> Record:
    turns = [Turn(question="?", answer="yes")]
    return Record(id=f"{clip}-{number}", video=clip, turns=turns, meta=meta)


def test_items_take_answers_family_and_channel_from_the_record() -> None:
    turns = [Turn(question="First?", answer="one"), Turn(question="Second?", answer="two")]
    about = {"family": "count", "channel": "audio"}
    records = [
        Record(id="a", video="v", turns=turns, answers=["2", "two"], meta=about),
        Record(id="b", video="v", turns=turns),
    ]
    task = get_task(EXACT)
    full, bare = items_of(task, records, {"a": "Two.", "b": "one"})
    assert (full.references, full.labels) == (("2", "two"), ("audio", "count"))
    assert (bare.references, bare.labels) == (("two",), ("other",))
    assert full.cluster == bare.cluster
    report, rows = score_items(task, [full, bare])
    assert [row["correct"] for row in rows] == [True, False] and report.scores == {"accuracy": 0.5}
    one, two = (row_of(task, record, "base", "Two.") for record in records)
    assert (one.family, one.answer, one.correct) == ("count", "2", True)
    assert (two.family, two.question, two.correct) == ("other", "Second?", True)
    old = Record(id="c", video="v", turns=turns, meta={"needs": "audio"})
    assert channel_and_family([old]) == [("audio", "other")]


def test_rows_keep_channels_apart_from_families_of_the_same_name() -> None:
    records = [
        _record("v", 0, family="audio", channel="video"),
        _record("v", 1, family="x", channel="audio"),
        _record("v", 2, family="all", channel="video"),
        _record("v", 3, family="y"),
    ]
    task = get_task(EXACT)
    items = items_of(task, records, {record.id: "yes" for record in records})
    report, _ = score_items(task, items)
    assert [(row.label, row.n) for row in report.labels] == [
        ("video", 2),
        ("audio (family)", 1),
        ("all (family)", 1),
        ("audio", 1),
        ("x", 1),
        ("y", 1),
    ]


def test_rows_of_channels_are_called_after_what_they_are() -> None:
    names = ["all", "audio", "scene3d", "views", "frames", "video", "colour"]
    assert [row_title(name) for name in names] == [
        "all questions",
        "needs sound",
        "needs depth",
        "needs other cameras",
        "needs a high frame rate",
        "visual control",
        "colour",
    ]


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 99)), min_size=1, max_size=40, unique=True
    ),
    st.integers(1, 9),
)
def test_batches_hold_every_item_once_and_whole_clips_where_they_fit(
    pairs: list[tuple[int, int]], size: int
) -> None:
    items = [_record(f"v{clip}", number) for clip, number in pairs]
    batches = cut(items, size)
    assert sorted(item.id for batch in batches for item in batch) == sorted(
        item.id for item in items
    )
    assert all(0 < len(batch) <= size for batch in batches)
    for clip in {item.video for item in items}:
        count = sum(item.video == clip for item in items)
        holding = sum(any(item.video == clip for item in batch) for batch in batches)
        assert holding == -(-count // size)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 99)), min_size=1, max_size=40, unique=True
    ),
    st.data(),
)
def test_clips_of_like_length_stand_side_by_side(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    items = [_record(f"v{clip}", number) for clip, number in pairs]
    lengths = {clip_key(item): data.draw(st.integers(0, 3)) for item in items}
    features = SimpleNamespace(
        clip=lambda record: SimpleNamespace(text="x" * lengths[clip_key(record)])
    )
    ordered = by_length(items, features)
    found = [lengths[clip_key(item)] for item in ordered]
    assert found == sorted(found)
    seen = [
        item.video
        for number, item in enumerate(ordered)
        if number == 0 or ordered[number - 1].video != item.video
    ]
    assert len(seen) == len(set(seen))  # a clip's questions stay together
    assert sorted(item.id for item in ordered) == sorted(item.id for item in items)


def test_torn_line_is_cut_off_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [row_of(get_task(EXACT), _record("v", number), "a", "yes") for number in range(3)]
    append_rows(file, rows)
    file.write_bytes(file.read_bytes()[:-5])
    assert list(read_rows(file, "a")) == [("a", "v-0"), ("a", "v-1")]
    append_rows(file, rows[2:])
    assert list(read_rows(file, "a").values()) == rows


@pytest.mark.parametrize(
    "old, new",
    [
        ('"arm": "a"', '"arm": "null"'),
        ('"prediction": "yes"', '"prediction": 1'),
        ('"prediction": "yes", ', ""),
        ('"id"', "id"),
        ('"id": "v-1"', '"id": "\\ud800"'),
        ('"correct": true', '"correct": ' + "[" * 5000 + "]" * 5000),
    ],
)
def test_a_whole_line_that_is_no_row_is_told_of(tmp_path: Path, old: str, new: str) -> None:
    """It would be asked again without a word, and what follows it with it; or end in a KeyError."""
    file = tmp_path / "a.jsonl"
    append_rows(file, [row_of(get_task(EXACT), _record("v", n), "a", "yes") for n in range(3)])
    lines = file.read_text().split("\n")
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new)
    file.write_text("\n".join(lines))
    whole = file.read_bytes()
    with pytest.raises(
        ConfigError, match=r"a\.jsonl:2: (is not an answer|belongs to arm) .*delete the file"
    ):
        read_rows(file, "a")
    assert file.read_bytes() == whole


def _report() -> Report:
    items: dict[str, list[Item]] = {}
    for arm, word in {"base": "no", "lora": "yes", "patch": "Yes."}.items():
        items[arm] = [
            Item(
                id=f"v{clip}-{number}",
                cluster=f"v{clip}",
                prediction=word if clip else "no",
                references=("yes",),
                labels=("audio" if number else "video", f"f{number}"),
            )
            for clip in range(5)
            for number in range(3)
        ]
    asked = Asked(prompt="unknown", split="", records=15)
    scores, _ = score_arms(get_task(EXACT), items, asked, resamples=200, seed=0)
    return Report(
        task=scores,
        clips=5,
        seconds={"load": 1.25},
        peak_rss_mb=100,
        trainable_parameters={"patch": 1234567},
        seeds={"bootstrap": 0},
        versions={"python": "3"},
        command="pave eval x.yaml",
    )


def test_table_and_page_speak_in_points() -> None:
    report = _report()
    header, rows = table(report)
    assert header == ["questions", "n", "base", "lora", "patch", "patch - base", "patch - lora"]
    assert rows[0][:3] == ["all questions", "15", "0.0 (0 to 20)"]
    # Five clips hold no interval, so that of two shares is the widest there is, and marked.
    assert rows[0][-1] == "+0.0 (-100.0 to +100.0) *"
    assert rows[0][-2] == "+80.0 (-100.0 to +100.0) *"
    page = markdown(report, "Title", ["plot.png"])
    assert (
        page.startswith("# Title\n")
        and "\\* fewer than 10 videos" in page
        and "![plot](plot.png)" in page
        and "1,234,567" in page
        and "pave eval x.yaml" in page
    )
    with pytest.raises(KeyError):
        report.arm("base", "nothing")
    with pytest.raises(KeyError):
        report.gap("base", "patch")


def test_a_results_file_is_read_again_and_one_of_an_older_pave_too() -> None:
    report = _report()
    saved = json.loads(report.model_dump_json())
    assert Report.model_validate(saved) == report
    old = {**saved, "task": None}
    rename = {"audio": "sound", "video": "visual"}
    for row in [*old["arms"], *old["paired"]]:
        row["family"] = rename.get(row["family"], row["family"])
    again = Report.model_validate(old)
    assert (again.arms, again.paired) == (report.arms, report.paired)
    assert (table(again), markdown(again)) == (table(report), markdown(report))


def test_old_names_of_rows_are_told_of_and_kept_apart(caplog: pytest.LogCaptureFixture) -> None:
    """A family of somebody's own was called like a channel before the channel was."""
    row = {"arm": "a", "n": 4, "correct": 2, "accuracy": 0.5, "ci95": (0.1, 0.9)}
    rows = [{**row, "family": family} for family in ("all", "sound", "audio", "visual")]
    with caplog.at_level("INFO"):
        found = with_task({"arms": rows, "paired": []})
    labels = [label["label"] for label in found["task"]["arms"]["a"]["labels"]]
    assert labels == ["audio", "audio (family)", "video"]
    assert caplog.messages == [
        "results file, rows: sound is called audio now",
        "results file, rows: visual is called video now",
    ]


def test_an_old_name_of_a_setting_still_loads() -> None:
    given = {"records": "r", "out": "o", "store": "tokens", "task": None}
    config = EvalConfig.model_validate(given)
    assert (config.cache, config.cache_folder) == (Path("tokens"), Path("tokens"))
    assert config.task == EXACT and EvalConfig(records="r", out="o").cache_folder == Path("o/cache")
    with pytest.raises(ValueError, match="store is the old name of cache"):
        EvalConfig.model_validate({**given, "cache": "b"})


def test_plot_with_learning_curves(tmp_path: Path) -> None:
    path = draw(
        _report(),
        tmp_path / "deep" / "plot.png",
        {"lora": [(1, 2.0), (2, 1.0)], "patch": [(1, 2.0), (2, 0.5)]},
    )
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 10_000


@pytest.mark.parametrize("word", ["", "none", "null", None])
def test_base_arm_can_be_written_on_a_command_line(word: str | None) -> None:
    assert EvalConfig.model_validate({"records": "r", "out": "o", "arms": {"base": word}}).arms == {
        "base": None
    }


def test_memory_counts_children() -> None:
    hold = (
        "import sys; held = bytearray(b'x') * 150_000_000; print('ready', flush=True); "
        "sys.stdin.read()"
    )
    with PeakMemory(every=0.01) as memory:
        before = (
            _tree()
        )  # now, not the peak: an earlier test may have needed more than this one's child
        child = subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        own = _tree()
        child.communicate("")
    assert own - before > 100 or sys.platform != "linux"
    assert memory.megabytes >= before


def _tree() -> float:
    import os

    return tree_megabytes(os.getpid())


def test_stopwatch_adds_up_and_versions_name_torch() -> None:
    watch = Stopwatch()
    for _ in range(2):
        with watch.stage("a"):
            pass
    assert list(watch.seconds) == ["a"] and watch.seconds["a"] >= 0
    assert {"python", "torch", "transformers"} <= set(versions())


@pytest.mark.parametrize("name", ["a/b", "../up", "a b", ""])
def test_an_arm_is_named_as_a_file_may_be(name: str) -> None:
    with pytest.raises(ValueError, match="the name of an arm may contain letters"):
        EvalConfig(records=Path("r.jsonl"), out=Path("out"), arms={name: None})


@pytest.mark.parametrize(
    "given", ["a/patch,b/patch", ["a/patch", "b/patch"], [Path("a/patch"), Path("b/patch")]]
)
def test_an_arm_may_hold_several_patches(given: object, tmp_path: Path) -> None:
    config = EvalConfig.model_validate(
        {"records": "r", "out": "o", "arms": {"base": None, "both": given}}
    )
    assert config.arms == {"base": None, "both": [Path("a/patch"), Path("b/patch")]}
    (tmp_path / "eval.yaml").write_text("arms: {base: null, both: [a/patch, b/patch]}\n")
    words, (source,) = take_config(["eval", "--config", str(tmp_path / "eval.yaml")])
    assert words == ["eval"] and source.data["arms"] == {"base": None, "both": "a/patch,b/patch"}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"null", b"\xff\x00"],
    ids=["empty", "cut", "list", "null", "binary"],
)
def test_a_damaged_folder_of_answers_is_named(tmp_path: Path, content: bytes) -> None:
    claim(tmp_path, {"batch": 1})
    claim(tmp_path, {"batch": 1})
    (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(
        ConfigError, match="settings.json is damaged .*; choose another out folder, or delete it"
    ):
        claim(tmp_path, {"batch": 1})


def test_clips_that_any_arm_cannot_use_are_named_together(monkeypatch):
    """The arms behind one that cannot go on have their clips read, too."""
    unusable = {"base": {"a": "no film"}, "sound": {"b": "no sound", "a": "no film, either"}}
    read = []

    def features_of(_run, arm, _share):
        read.append(arm)
        if arm in unusable:
            raise UnusableClipsError(unusable[arm], 4)

    monkeypatch.setattr(asking, "features_of", features_of)
    arms = {arm: SimpleNamespace(learns=False, kind="plain") for arm in ("base", "sound", "last")}
    with pytest.raises(RecordError, match=r"^2 of 4 clips cannot be used: a: no film; b: no sound"):
        asking.read_clips(SimpleNamespace(arms=arms))
    assert read == ["base", "sound", "last"]


def test_a_list_of_unusable_clips_is_bounded():
    told = str(UnusableClipsError(dict.fromkeys(map(str, range(100)), "gone"), 200))
    assert told.startswith("100 of 200 clips cannot be used: 0: gone; 1: gone; 2: gone; also 3, 4,")
    assert "22 (and 77 more); repair" in told
