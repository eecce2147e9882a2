"""Records: what is written is read back, what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pave.data import Record, Turn, group_by_clip, read_records, write_records
from pave.errors import RecordError

LINE = {"id": "a", "video": "v.mp4", "turns": [{"question": "What?", "answer": "dog"}]}


def _file(folder: Path, *lines: object) -> Path:
    path = folder / "records.jsonl"
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return path


def test_paths_become_absolute_and_go_back_to_relative(tmp_path):
    (tmp_path / "v.mp4").touch()
    (tmp_path / "b.npy").touch()
    path = _file(
        tmp_path,
        {
            **LINE,
            "channels": {
                "audio": "v.mp4",
                "views": ["v.mp4", "b.npy"],
                "n": {"depth": "b.npy", "unit": "m"},
            },
        },
    )
    (record,) = read_records(path)
    assert record.video == str(tmp_path / "v.mp4")
    assert record.channels["views"] == [str(tmp_path / "v.mp4"), str(tmp_path / "b.npy")]
    assert record.channels["n"] == {"depth": str(tmp_path / "b.npy"), "unit": "m"}
    copy = write_records(tmp_path / "copy.jsonl", [record])
    assert json.loads(copy.read_text())["channels"]["views"] == ["v.mp4", "b.npy"]
    assert read_records(copy) == [record]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "a"', "records.jsonl:3: not valid JSON"),
        ({**LINE, "channels": {"audio": 3}}, "channels: audio must be a path, .*got 3"),
        ({**LINE, "channels": {"audio": None}}, "leave out what is missing"),
        (
            {**LINE, "channels": {"views": ["a.mp4", 2]}},
            r"channels: views must be a path, .*got \['a.mp4', 2\]",
        ),
        ({**LINE, "channels": {"views": ["a.mp4", ""]}}, "channels: views must be a path"),
        ({**LINE, "id": "\ud800"}, "records.jsonl:3: holds half of a surrogate pair"),
        ({**LINE, "meta": {"x": ["\udfff"]}}, "records.jsonl:3: holds half of a surrogate pair"),
        ('{"id": ' + 5000 * "9" + "}", "records.jsonl:3: cannot be read"),
        ('{"meta": ' + 2000 * "[" + 2000 * "]" + "}", "records.jsonl:3: .*nested too deeply"),
        (
            '{"id": "b", "video": "v", "channels": {"c": ' + 600 * '{"a":' + "1" + 602 * "}",
            "records.jsonl:3",
        ),
        ({**LINE, "vidoe": "x"}, "records.jsonl:3: vidoe: there is no such field"),
        ({**LINE, "id": "b", "turns": []}, "records.jsonl:3: turns"),
        ({**LINE, "id": "b", "turns": [{"answer": "x"}]}, "records.jsonl:3: turns.0.question"),
        ([1], "records.jsonl:3: record"),
        (LINE, "records.jsonl:3: id 'a' was used at .*records.jsonl:1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, words):
    with pytest.raises(RecordError, match=words):
        read_records(_file(tmp_path, LINE, "", line), check_media=False)


def test_missing_media_are_listed(tmp_path):
    path = _file(tmp_path, LINE, {**LINE, "id": "b", "channels": {"views": ["x.mp4", "v.mp4"]}})
    with pytest.raises(RecordError, match=r"2 media files are missing: .*v.mp4, .*x.mp4"):
        read_records(path)
    with pytest.raises(RecordError, match="holds no records"):
        read_records(_file(tmp_path, ""))
    with pytest.raises(RecordError, match="cannot read"):
        read_records(tmp_path / "nowhere.jsonl")


def test_a_path_inside_an_object_is_never_taken_from_the_current_folder(tmp_path, monkeypatch):
    """It is missing beside the records, though the current folder has one of that name."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "z.npz").touch()
    (tmp_path / "here" / "scene").mkdir()
    (tmp_path / "v.mp4").touch()
    monkeypatch.chdir(tmp_path / "here")
    for named in ("z.npz", "scene", "nowhere.txt"):
        path = _file(
            tmp_path,
            {**LINE, "channels": {"scene3d": {"arrays": named, "unit": "m/s", "version": "1.5"}}},
        )
        with pytest.raises(
            RecordError,
            match=rf"1 media file is missing: {tmp_path / named}; paths are relative to",
        ):
            read_records(path)
        (record,) = read_records(path, check_media=False)
        assert record.channels["scene3d"] == {
            "arrays": str(tmp_path / named),
            "unit": "m/s",
            "version": "1.5",
        }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ({"needs": "audio"}, {"channel": "audio"}),
        ({"needs": "sound", "family": "count"}, {"channel": "audio", "family": "count"}),
        ({"needs": "visual"}, {"channel": "video"}),
        ({"needs": "thermal"}, {"channel": "thermal"}),
        ({"needs": "audio", "channel": "views"}, {"needs": "audio", "channel": "views"}),
        ({"needs": ["glasses"]}, {"needs": ["glasses"]}),
    ],
)
def test_meta_channel_was_called_needs(tmp_path, written, read):
    (record,) = read_records(_file(tmp_path, {**LINE, "meta": written}), check_media=False)
    assert record.meta == read


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "x", "y"]), TEXT),
        min_size=1,
        max_size=12,
    )
)
def test_round_trip_and_groups(tmp_path_factory, drawn):
    made = [
        Record(
            id=str(i),
            video=f"/m/{video}",
            channels={} if sound is None else {"audio": f"/m/{sound}"},
            turns=[Turn(question=q)],
        )
        for i, (video, sound, q) in enumerate(drawn)
    ]
    path = write_records(tmp_path_factory.mktemp("r") / "r.jsonl", made)
    assert read_records(path, check_media=False) == made
    groups = group_by_clip(made)
    assert sorted(r.id for g in groups for r in g) == sorted(r.id for r in made)
    assert all(len({(r.video, str(r.channels)) for r in g}) == 1 for g in groups)
    assert len(groups) == len({(video, sound) for video, sound, _ in drawn})
