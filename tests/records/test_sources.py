"""Records of every kind of source are the same records; what is wrong with one is named."""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from pave.data import (
    Record,
    Turn,
    group_by_clip,
    open_records,
    read_records,
    register_reader,
    write_records,
)
from pave.data.records import each_record
from pave.data.sources import READERS, Row
from pave.data.store import Records
from pave.data.views import Joined
from pave.errors import ConfigError, RecordError


def rows(folder: Path) -> list[dict[str, object]]:
    """Two clips, three questions, as any table has them; the second clip has no sound."""
    for name in ("a.mp4", "b.mp4"):
        (folder / name).write_bytes(b"not looked into")
    first = {"id": "1", "video": "a.mp4", "channels.audio": "a.mp4", "question": "What?"}
    second = {"id": "2", "video": "b.mp4", "channels.audio": None, "question": "Who?"}
    third = {"id": "3", "video": "a.mp4", "channels.audio": "a.mp4", "question": "Loud?"}
    found = []
    for row, answer in ((first, "dog"), (second, "cat"), (third, "yes")):
        found.append({**row, "answer": answer, "options": ["cat", "dog"], "family": "heard"})
    return found


def expected(folder: Path) -> list[Record]:
    made = []
    for row in rows(folder):
        sound = row["channels.audio"]
        made.append(
            Record(
                id=str(row["id"]),
                video=str(folder / str(row["video"])),
                channels={} if sound is None else {"audio": str(folder / str(sound))},
                turns=[Turn(question=str(row["question"]), answer=str(row["answer"]))],
                options=["cat", "dog"],
                meta={"family": "heard"},
            )
        )
    return made


def as_jsonl(folder: Path) -> Path:
    return write_records(folder / "r.jsonl", expected(folder))


def as_json(folder: Path) -> Path:
    lines = as_jsonl(folder).read_text("utf-8").splitlines()
    file = folder / "r.json"
    file.write_text(json.dumps([json.loads(line) for line in lines], indent=1))
    return file


def as_csv(folder: Path) -> Path:
    file = folder / "r.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows(folder)[0]))
        writer.writeheader()
        for row in rows(folder):
            writer.writerow({**row, "options": "cat | dog"})
    return file


def as_parquet(folder: Path) -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows(folder)), folder / "r.parquet")
    return folder / "r.parquet"


def as_typed_parquet(folder: Path) -> Path:
    """Whole records in columns of structures, where Arrow fills what a row lacks with nulls."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows(folder)
    lines = [json.loads(line) for line in as_jsonl(folder).read_text("utf-8").splitlines()]
    parquet.write_table(arrow.Table.from_pylist(lines), folder / "typed.parquet")
    return folder / "typed.parquet"


@pytest.mark.parametrize("write", [as_jsonl, as_json, as_csv, as_parquet, as_typed_parquet])
def test_every_format_holds_the_same_records(tmp_path, write):
    source = write(tmp_path)
    assert read_records(source) == expected(tmp_path)
    opened = open_records(source)
    assert list(opened) == expected(tmp_path)
    assert [[record.id for record in clip] for clip in group_by_clip(opened)] == [["1", "3"], ["2"]]


@pytest.mark.slow  # the package takes seconds to import
def test_a_dataset_as_an_object_and_from_a_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_list(rows(tmp_path))
    found.save_to_disk(str(tmp_path / "saved"))
    for name in ("a.mp4", "b.mp4"):  # paths are relative to the folder
        (tmp_path / "saved" / name).write_bytes(b"x")
    assert read_records(tmp_path / "saved") == expected(tmp_path / "saved")
    with pytest.raises(RecordError, match=r"row 1: a\.mp4: .* paths must be absolute"):
        read_records(found)
    absolute = found.map(lambda row: {"video": str(tmp_path / row["video"])})
    assert len(read_records(absolute.remove_columns(["channels.audio"]))) == 3


def test_rows_of_a_program(tmp_path):
    clip = str(tmp_path / "a.mp4")
    given = [{"video": clip, "question": "What?"}, {"video": clip, "question": "Who?"}]
    found = read_records(given, check_media=False)
    assert [record.id for record in found] == ["a-1", "a-2"]
    with pytest.raises(RecordError, match=r"row 2: id 'x' was used at row 1"):
        read_records([{**row, "id": "x"} for row in given], check_media=False)


def shard(file: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(file, "w") as opened:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            opened.addfile(info, io.BytesIO(data))
    return file


def test_shards_of_webdataset(tmp_path):
    """A clip and its JSON have one name; a folder of shards is read in order."""
    flat = {"question": "What?", "answer": "dog", "channels": {"audio": "a.wav"}}
    several = [{"id": "y", "question": "Who?"}, {"id": "z", "question": "Why?"}]
    clip, talk = (f"{name}.json" for name in ("s/a", "s/b"))
    first = shard(
        tmp_path / "0.tar",
        ("s/a.mp4", b"1"),
        (clip, json.dumps(flat).encode()),
        ("s/a.wav", b"2"),
    )
    second = shard(tmp_path / "1.tar", (talk, json.dumps(several).encode()), ("s/b.webm", b"3"))
    found = read_records(tmp_path)
    assert [record.id for record in found] == ["s/a", "y", "z"]
    assert found[0].video == f"tar://s/a.mp4::{first}"
    assert found[0].channels == {"audio": f"tar://s/a.wav::{first}"}
    assert found[2].video == f"tar://s/b.webm::{second}"
    again = write_records(tmp_path / "again.jsonl", found)
    assert "tar://s/a.mp4::0.tar" in again.read_text("utf-8")
    assert read_records(again) == found
    (tmp_path / "1.tar").write_bytes(second.read_bytes()[:2048])
    with pytest.raises(RecordError, match=r"1\.tar: .*cut off"):
        read_records(tmp_path)


def test_a_reader_of_ones_own(tmp_path):
    """The example of the module's docstring."""

    @register_reader("tsvx")
    def rows_of_tsvx(file: Path) -> Iterator[Row]:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            video, question, answer = line.split("\t")
            turn = {"question": question, "answer": answer}
            yield f"{file}:{number}", {"id": str(number), "video": video, "turns": [turn]}

    try:
        (tmp_path / "r.tsvx").write_text("a.mp4\tWhat?\tdog\n\tWho?\tcat\n")
        first, second = each_record(tmp_path / "r.tsvx")
        assert isinstance(first, Record) and first.video == str(tmp_path / "a.mp4")
        assert str(second).startswith(f"{tmp_path / 'r.tsvx'}:2: video: ")
    finally:
        READERS._registered.pop("tsvx")


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "r.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(RecordError, match=r"r\.parquet: cannot be read as Parquet"):
        read_records(tmp_path / "r.parquet")
    with pytest.raises(RecordError, match="is a folder without tar files or a data set"):
        read_records(tmp_path)
    (tmp_path / "r.csv").write_text("video,question\na.mp4,\n")
    with pytest.raises(RecordError, match=r"r\.csv:2: the column question is empty"):
        read_records(tmp_path / "r.csv")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'video-pave\[parquet\]'"):
        read_records(tmp_path / "r.parquet")


def test_records_stay_out_of_memory(tmp_path):
    """Ten times the records, 44 bytes more for each: nothing else is kept."""
    records = Records()
    tracemalloc.start()
    try:
        grown = []
        for count in (1000, 10000):
            for number in range(count):
                turn = {"question": f"What is {number}?" * 20, "answer": "dog"}
                clip = f"/clips/{number % 50}.mp4"
                records.add(Record(id=f"{count}-{number}", video=clip, turns=[turn]), f"r:{number}")
            grown.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    records.close()
    assert grown[1] - grown[0] < 10000 * 44 * 1.5
    assert len(group_by_clip(records)) == 50
    assert records[-1].id == "10000-9999" and records.place(10999) == "r:9999"
    assert [len(records[2:5]), len(Joined(records, records[:3]))] == [3, 11003]


@pytest.mark.parametrize(
    "place", ["a.tar: 0007", "row 0", "9" * 30, "a.csv:12", "", "x:18446744073709551616"]
)
def test_a_place_is_told_as_it_was_given(place):
    records = Records()
    for _ in range(2):
        records.add(Record(id="a", video="a.mp4", turns=[{"question": "What?"}]), place)
    assert (records.place(0), records.place(1)) == (place, place)
