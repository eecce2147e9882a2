"""Records of a CSV file: what spreadsheets write is read, what is wrong is named with its line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pave.cli import main
from pave.data import read_records
from pave.data.table import records_from_csv, split_by_clip
from pave.errors import ConfigError, RecordError

HEAD = "video,question,answer"


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4", "a.csv"):
        (folder / name).write_bytes(b"not looked into")
    return folder


def write(tmp_path: Path, *lines: str, start: bytes = b"", end: str = "\n") -> Path:
    file = tmp_path / "questions.csv"
    file.write_bytes(start + end.join([*lines, ""]).encode())
    return file


def test_a_line_becomes_a_record(tmp_path: Path, clips: Path) -> None:
    file = tmp_path / "questions.csv"
    with file.open("w", newline="", encoding="utf-8") as handle:  # Python's own writer quotes
        writer = csv.writer(handle)
        writer.writerow(["Video", "question", "answer", "answers", "options", "family", "imu"])
        writer.writerow(["a.mp4", "Dog,\ncat?", "dog", "dog | a dog", "dog|cat", "heard", "a.csv"])
        writer.writerow(["a.mp4", "Loud?", "", "", "", "", ""])
    first, second = records_from_csv(file, clips, {"audio": "video", "imu": "imu"})
    assert (first.id, second.id) == ("a-1", "a-2")
    assert first.video == str(clips / "a.mp4")
    assert first.channels == {"audio": first.video, "imu": str(clips / "a.csv")}
    assert second.channels == {"audio": first.video}
    assert (first.turns[0].question, first.turns[0].answer) == ("Dog,\ncat?", "dog")
    assert (first.answers, first.options) == (["dog", "a dog"], ["dog", "cat"])
    assert first.meta == {"family": "heard"}
    assert second.turns[0].answer is None and second.meta == {}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "mark"])
def test_what_spreadsheets_write(
    tmp_path: Path, clips: Path, delimiter: str, end: str, start: bytes
) -> None:
    rows = [HEAD, "a.mp4,What?,dog", ",,"]
    lines = [row.replace(",", delimiter) for row in rows]
    (record,) = records_from_csv(write(tmp_path, *lines, start=start, end=end), clips)
    assert record.turns[0].answer == "dog"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "no column video, question, answer.*it holds: nothing"),
        ([HEAD], "only the column names"),
        (["video,question", "a.mp4,What?"], "no column answer.*it holds: video, question"),
        ([HEAD + ",answer", "a.mp4,What?,x,y"], "two columns are called 'answer'"),
        ([HEAD, "a.mp4,What, then?,dog"], r"csv:2: 4 cells for 3 columns; put quotes"),
        ([HEAD, "a.mp4,,dog"], r"csv:2: the column question is empty"),
        ([HEAD, ",What?,dog"], r"csv:2: the column video is empty"),
        ([HEAD, 'a.mp4,"What?,dog'], r"csv:2: unexpected end of data"),
        (
            [HEAD, "a.mp4,What?,dog", "b.mp3,What?,dog", "x.mp4,What?,dog"],
            r"2 files are not in .*clips: b\.mp3, x\.mp4 \(did you mean 'b\.mp4'\?\).*csv:3",
        ),
        (
            [HEAD + ",id", "a.mp4,What?,dog,q1", "b.mp4,What?,dog,q1"],
            r"csv:3: the id 'q1' was used at .*csv:2",
        ),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, clips: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(RecordError, match=message):
        records_from_csv(write(tmp_path, *lines), clips)


def test_other_encodings_and_folders_are_refused(tmp_path: Path, clips: Path) -> None:
    file = tmp_path / "latin.csv"
    file.write_bytes(f"{HEAD}\na.mp4,Hört man es?,ja\n".encode("latin-1"))
    with pytest.raises(RecordError, match="UTF-8"):
        records_from_csv(file, clips)
    with pytest.raises(RecordError, match="no folder of clips"):
        records_from_csv(file, tmp_path / "gone")
    with pytest.raises(RecordError, match="no column imu"):
        records_from_csv(write(tmp_path, HEAD, "a.mp4,What?,x"), clips, {"imu": "imu"})


def test_clips_are_held_out_whole(tmp_path: Path, clips: Path) -> None:
    # Some lines of a clip have the channel and some lack it: the clip is one all the same.
    imu = ["a.csv", "", "", "a.csv"]
    lines = [f"{name}.mp4,Question {row}?,x,{imu[row]}" for name in "abc" for row in range(4)]
    records = records_from_csv(write(tmp_path, HEAD + ",imu", *lines), clips, {"imu": "imu"})
    train, test = split_by_clip(records, 0.34, seed=3)
    assert (len(train), len(test)) == (8, 4)
    assert not {record.video for record in train} & {record.video for record in test}
    assert split_by_clip(records, 0.34, seed=3) == (train, test)
    assert len(split_by_clip(records, 0.01)[1]) == len(split_by_clip(records, 0.99)[0]) == 4
    with pytest.raises(ConfigError, match="between 0 and 1"):
        split_by_clip(records, 1.0)
    with pytest.raises(ConfigError, match="one clip"):
        split_by_clip(records[:4], 0.5)


def test_the_verb_writes_files_that_pave_reads(
    tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, HEAD, "a.mp4,What?,dog", "b.mp4,What?,", "c.mp4,What?,cat")
    words = ["records", "from-csv", "questions.csv", "--clips", "clips", "--channel", "audio"]
    assert main([*words, "--out", "train.jsonl", "--test-out", "test.jsonl"]) == 0
    said = capsys.readouterr()
    assert "train.jsonl: 2 questions about 2 clips" in said.out
    assert "test.jsonl: 1 question about 1 clip" in said.out
    assert "without an answer in test.jsonl: 1 question" in said.err
    records = read_records("train.jsonl") + read_records("test.jsonl")
    assert sorted(record.id for record in records) == ["a-1", "b-1", "c-1"]
    assert all(record.channels == {"audio": record.video} for record in records)
    assert '"video": "clips/' in Path("train.jsonl").read_text("utf-8")  # the folder can be moved
    assert main([*words, "--out", "all.jsonl", "--channel", "audoi"]) == 0
    assert "did you mean 'audio'?" in capsys.readouterr().err


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85"])
def test_lines_end_where_spreadsheets_end_them(tmp_path: Path, clips: Path, letter: str) -> None:
    """Texts that were copied from a page hold other breaks, within a cell."""
    lines = (HEAD, f"a.mp4,Who{letter}is it?,x", f'a.mp4,"a{letter}b",y', "b.mp4,What?,z")
    records = records_from_csv(write(tmp_path, *lines), clips, {})
    asked = [record.turns[0].question for record in records]
    assert asked == [f"Who{letter}is it?", f"a{letter}b", "What?"]
