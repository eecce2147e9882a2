"""Items, rows, report page and the measuring of memory and time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.cli.settings import take_config
from pave.data import Record, Turn, clip_key
from pave.errors import ConfigError
from pave.evaluate.answers import append_answers, claim, read_answers
from pave.evaluate.batches import by_length, cut
from pave.evaluate.config import EvalConfig
from pave.evaluate.items import Item, items_of, judge
from pave.evaluate.machine import PeakMemory, Stopwatch, tree_megabytes, versions
from pave.evaluate.plot import draw
from pave.evaluate.report import Report, markdown, table
from pave.evaluate.table import arm_rows, families_of, paired_rows


def _item(clip: str, number: int = 0, family: str = "f", group: str = "sound") -> Item:
    record = Record(id=f"{clip}-{number}", video=clip, turns=[Turn(question="?", answer="yes")])
    return Item(record.id, clip, family, group, "?", ("yes",), record)


def test_items_take_answers_family_and_need_from_the_record() -> None:
    turns = [Turn(question="First?", answer="one"), Turn(question="Second?", answer="two")]
    full, bare = items_of(
        [
            Record(
                id="a",
                video="v",
                turns=turns,
                answers=["2", "two"],
                meta={"family": "count", "channel": "audio"},
            ),
            Record(id="b", video="v", turns=turns),
        ]
    )
    assert (full.answers, full.family, full.group) == (("2", "two"), "count", "sound")
    assert (bare.answers, bare.family, bare.group) == (("two",), "other", "")
    assert full.turns() == [("First?", "one"), ("Second?", None)]
    assert judge(full, "base", "Two.").correct and not judge(bare, "base", "one").correct


def test_rows_keep_groups_apart_from_families_of_the_same_name() -> None:
    items = [
        _item("v", 0, "sound", "visual"),
        _item("v", 1, "x", "sound"),
        _item("v", 2, "all", "visual"),
        _item("v", 3, "y", ""),
    ]
    rows = {name: [item.id for item in members] for name, members in families_of(items).items()}
    assert rows["all"] == ["v-0", "v-1", "v-2", "v-3"]
    assert rows["sound"] == ["v-1"] and rows["visual"] == ["v-0", "v-2"]
    assert (
        rows["sound (family)"] == ["v-0"]
        and rows["all (family)"] == ["v-2"]
        and rows["y"] == ["v-3"]
    )
    assert "" not in rows


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 99)), min_size=1, max_size=40, unique=True
    ),
    st.integers(1, 9),
)
def test_batches_hold_every_item_once_and_whole_clips_where_they_fit(
    pairs: list[tuple[int, int]], size: int
) -> None:
    items = [_item(f"v{clip}", number) for clip, number in pairs]
    batches = cut(items, size)
    assert sorted(item.id for batch in batches for item in batch) == sorted(
        item.id for item in items
    )
    assert all(0 < len(batch) <= size for batch in batches)
    for clip in {item.clip for item in items}:
        count = sum(item.clip == clip for item in items)
        assert sum(any(item.clip == clip for item in batch) for batch in batches) == -(
            -count // size
        )


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 99)), min_size=1, max_size=40, unique=True
    ),
    st.data(),
)
def test_clips_of_like_length_stand_side_by_side(
    pairs: list[tuple[int, int]], data: st.DataObject
) -> None:
    items = [_item(f"v{clip}", number) for clip, number in pairs]
    lengths = {clip_key(item.record): data.draw(st.integers(0, 3)) for item in items}
    features = SimpleNamespace(
        clip=lambda record: SimpleNamespace(text="x" * lengths[clip_key(record)])
    )
    ordered = by_length(items, features)
    found = [lengths[clip_key(item.record)] for item in ordered]
    assert found == sorted(found)
    seen = [
        item.clip
        for number, item in enumerate(ordered)
        if number == 0 or ordered[number - 1].clip != item.clip
    ]
    assert len(seen) == len(set(seen))  # a clip's questions stay together
    assert sorted(item.id for item in ordered) == sorted(item.id for item in items)


def test_torn_line_is_cut_off_and_the_rest_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    rows = [judge(_item("v", number), "a", "yes") for number in range(3)]
    append_answers(file, rows)
    file.write_bytes(file.read_bytes()[:-5])
    assert [key for key in read_answers(file)] == [("a", "v-0"), ("a", "v-1")]
    append_answers(file, rows[2:])
    assert list(read_answers(file).values()) == rows


def _report() -> Report:
    items = [
        _item(f"v{clip}", number, f"f{number}", "sound" if number else "visual")
        for clip in range(5)
        for number in range(3)
    ]
    said = {"base": "no", "lora": "yes", "patch": "Yes."}
    answers = {
        (arm, i.id): judge(i, arm, word if i.clip != "v0" else "no")
        for arm, word in said.items()
        for i in items
    }
    return Report(
        arms=arm_rows(items, list(said), answers),
        paired=paired_rows(items, list(said), answers, resamples=200, seed=0),
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
    assert rows[0][-1] == "+0.0 (+0.0 to +0.0)" and rows[0][-2].startswith("+80.0 (")
    page = markdown(report, "Title", ["plot.png"])
    assert (
        page.startswith("# Title\n")
        and "![plot](plot.png)" in page
        and "1,234,567" in page
        and "pave eval x.yaml" in page
    )
    with pytest.raises(KeyError):
        report.arm("base", "nothing")
    with pytest.raises(KeyError):
        report.gap("base", "patch")


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
    hold = "import sys; held = bytearray(b'x') * 150_000_000; print('ready', flush=True); sys.stdin.read()"
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
    with pytest.raises(ValueError, match="an arm's name may hold letters"):
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
