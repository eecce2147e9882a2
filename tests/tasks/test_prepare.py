"""By command: from annotation files and media to records, and from there to scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import pave
from pave.cli import main
from pave.data import read_records
from pave.errors import ConfigError, RecordError
from pave.tasks import get_task
from pave.tasks.files import read_annotations
from pave.tasks.prepare import prepare, write

SOURCE = str(Path(pave.__file__).parents[1])


def question(number: int, video: str, answer: str, kind: str = '["Audio", "Counting"]') -> dict:
    return {
        "video_id": video,
        "question_id": number,
        "type": kind,
        "question_content": f"How many {number}?",
        "anser": answer,
    }


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """Four questions about three videos, one of which is missing."""
    rows = [question(1, "00000001", "two"), question(2, "00000001", "no", '["Visual", "Location"]')]
    rows += [
        question(3, "sy0001", "yes", '["Audio-Visual", "Existential"]'),
        question(4, "00000009", "one"),
    ]
    (tmp_path / "avqa-test.json").write_text(json.dumps(rows))
    (tmp_path / "avqa-train.json").write_text(json.dumps(rows))
    for place in ("MUSIC-AVQA-videos-Real/00000001.mp4", "MUCIS-AVQA-videos-Synthetic/sy0001.mp4"):
        file = tmp_path / "media" / place
        file.parent.mkdir(parents=True)
        file.write_bytes(b"video")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "00000001.pt").write_bytes(b"x")
    return tmp_path


def test_missing_media_stop_are_listed_and_can_be_allowed(music: Path):
    prepared = prepare(get_task("music-avqa"), [music / "avqa-test.json"], music / "media", "test")
    out = music / "records" / "test.jsonl"
    with pytest.raises(
        RecordError, match=r"1 media file is missing \(4 examples\).*--allow-missing"
    ):
        write(prepared, out)
    assert not out.exists()
    assert (
        out.parent / "test.missing.txt"
    ).read_text() == f"{music / 'media/MUSIC-AVQA-videos-Real/00000009.mp4'}\n"
    write(prepared, out, allow_missing=True)
    records = read_records(out)
    assert [record.id for record in records] == ["1", "2", "3"]
    assert records[0].channels == {"audio": records[0].video}
    assert records[2].meta["labels"] == ["Audio-Visual", "Audio-Visual Existential"]
    summary = json.loads((out.parent / "test.summary.json").read_text())
    assert (summary["expected"], summary["converted"], summary["written"], summary["left_out"]) == (
        9185,
        4,
        3,
        1,
    )
    assert summary["prompt"] == get_task("music-avqa").prompt.hash == records[0].meta["prompt"]
    assert len(summary["annotations"]["avqa-test.json"]) == 64
    write(
        prepare(get_task("music-avqa"), [music / "avqa-test.json"], music / "media", "test"),
        out,
        allow_missing=True,
    )


def test_a_missing_channel_is_legal_by_default_and_left_out_by_the_authors(music: Path):
    given = (get_task("music-avqa"), [music / "avqa-test.json"], music / "media", "test")
    default = prepare(*given, features=music / "features")
    assert [bool(record.channels) for record in default.records] == [True, True, False]
    assert default.records[0].channels == {"features": str(music / "features" / "00000001.pt")}
    assert (default.summary.without_channel, default.summary.left_out) == (1, 1)
    assert (
        f"{music / 'features'}/MUCIS-AVQA-videos-Synthetic_audio_imagebind_feat/sy0001.pt"
        in default.summary.missing
    )
    authors = prepare(*given, features=music / "features", style="authors")
    assert [record.id for record in authors.records] == ["1", "2"]


def test_doubled_questions_have_names_of_their_own(music: Path):
    prepared = prepare(
        get_task("music-avqa"),
        [music / "avqa-train.json"],
        music / "media",
        "train",
        style="authors",
    )
    write(prepared, music / "train.jsonl", allow_missing=True)
    assert [record.id for record in read_records(music / "train.jsonl")] == [
        "1",
        "1#2",
        "2",
        "3",
        "3#2",
    ]


def test_what_cannot_be_prepared_is_said(music: Path):
    task = get_task("music-avqa")
    with pytest.raises(ConfigError, match="no split 'dev'; available: train, val, test"):
        prepare(task, [music / "avqa-test.json"], music / "media", "dev")
    with pytest.raises(ConfigError, match="does not exist"):
        prepare(task, [music / "avqa-test.json"], music / "nowhere", "test")
    with pytest.raises(RecordError, match="cannot read"):
        prepare(task, [music / "none.json"], music / "media", "test")
    (music / "empty").mkdir()
    prepared = prepare(task, [music / "avqa-test.json"], music / "empty", "test")
    with pytest.raises(RecordError, match="no records remain"):
        write(prepared, music / "out.jsonl", allow_missing=True)


def test_annotation_files_in_any_of_their_forms(tmp_path: Path):
    (tmp_path / "a.json").write_text('[{"id": 1}]')
    (tmp_path / "b.jsonl").write_text('{"id": 1}\n\n{"id": 2}\n')
    (tmp_path / "c.jsonl").write_text('{"id": 1}')
    (tmp_path / "d.json").write_text('{"id": 1}\n{"id": 2}\n')
    files = read_annotations([tmp_path])
    assert {name: len(content) for name, content in files.items()} == {
        "a.json": 1,
        "b.jsonl": 2,
        "c.jsonl": 1,
        "d.json": 2,
    }
    for text, words in (('{"id": ', "not valid JSON"), ('{"id": 1}\n{"id"', ":2: not valid")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(RecordError, match=words):
            read_annotations([tmp_path / "bad.json"])
    with pytest.raises(RecordError, match="parquet"):
        read_annotations([tmp_path / "x.parquet"])
    with pytest.raises(RecordError, match="give each file once"):
        read_annotations([tmp_path / "a.json", tmp_path / "a.json"])
    with pytest.raises(RecordError, match="no annotation files"):
        read_annotations([])


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    return (code, *capsys.readouterr())


def test_prepare_score_compare_by_command(
    music: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(music)
    asked = (
        "--annotations",
        "avqa-test.json",
        "--media",
        "media",
        "--split",
        "test",
        "--out",
        "test.jsonl",
    )
    code, out, err = run(capsys, "prepare", "music-avqa", *asked)
    assert (code, out) == (2, "") and "1 media file is missing (4 examples)" in err
    code, out, _ = run(
        capsys, "prepare", "music-avqa", *asked, "--allow-missing", "--authors-files", "theirs"
    )
    assert code == 0 and "test.jsonl (3, prompt" in out and "4 examples; 9,185 expected" in out
    assert Path("theirs/updated_avqa-test.json").is_file()

    answers = {"base": ["2", "the piano", "no"], "patch": ["two", "no", "yes"]}
    for arm, said in answers.items():
        lines = [json.dumps({"id": str(n), "prediction": text}) for n, text in enumerate(said, 1)]
        Path(f"{arm}.jsonl").write_text("\n".join(lines[: 2 if arm == "base" else 3]))
    files = ("--predictions", "base.jsonl", "--records", "test.jsonl")
    code, out, err = run(
        capsys, "score", "music-avqa", *files, "--rows", "base.rows.jsonl", "--json"
    )
    report = json.loads(out)
    assert (code, report["scores"], report["scored"], report["expected"]) == (
        0,
        {"accuracy": 0.5},
        2,
        3,
    )
    assert report["missing"] == ["3"] and report["published"] == 9185
    assert report["prompt"] == get_task("music-avqa").prompt.hash
    code, out, _ = run(
        capsys,
        "score",
        "music-avqa",
        *("--predictions", "patch.jsonl", *files[2:]),
        "--rows",
        "patch.rows.jsonl",
    )
    assert (
        code == 0
        and "accuracy  100.0" in out
        and "3 of 3 items scored" in out
        and "Audio Counting" in out
    )

    code, out, _ = run(capsys, "compare", "base.rows.jsonl", "patch.rows.jsonl", "--json")
    result = json.loads(out)
    everything = result["rows"][0]
    assert (everything["label"], everything["n"], everything["clusters"]) == ("all", 2, 1)
    assert (everything["a"], everything["b"], everything["difference"]) == (0.5, 1.0, 0.5)
    assert result["only_b"] == ["3"]
    code, out, _ = run(capsys, "compare", "patch.rows.jsonl", "patch.rows.jsonl")
    assert code == 0 and "resample videos" in out and "+0.0" in out

    theirs = (
        "--predictions",
        "patch.jsonl",
        *files[2:],
        "--style",
        "authors",
        "--rows",
        "authors.rows.jsonl",
    )
    assert run(capsys, "score", "music-avqa", *theirs)[0] == 0
    code, out, err = run(capsys, "compare", "base.rows.jsonl", "authors.rows.jsonl")
    assert (
        (code, out) == (2, "")
        and "authors.rows.jsonl in style authors" in err
        and "same --style" in err
    )


def test_preparing_and_scoring_load_no_torch():
    code = (
        "import sys, pave.tasks.prepare, pave.evaluate.score, pave.evaluate.compare; "
        "sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCE}, check=False
        ).returncode
        == 0
    )


def test_compare_reads_what_eval_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    row = {"arm": "base", "family": "heard", "question": "?", "answer": "dog", "prediction": "cat"}
    for arm, hits in (("a", [True, False]), ("b", [True, True])):
        lines = [json.dumps({"id": str(n), **row, "correct": hit}) for n, hit in enumerate(hits)]
        (tmp_path / f"{arm}.jsonl").write_text("\n".join(lines))
    code, _, err = run(capsys, "compare", tmp_path, tmp_path / "b.jsonl")
    assert code == 2 and "must hold one file of items, but has a.jsonl, b.jsonl" in err
    code, out, _ = run(capsys, "compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert code == 0 and "+50.0" in out and "heard" in out and "single questions" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ("score", "scanqa", "--predictions", "none.jsonl", "--records", "r.jsonl"),
            "cannot read none.jsonl",
        ),
        (("score", "scanq", "--predictions", "p", "--records", "r"), "did you mean 'scanqa'"),
        (
            ("score", "scanqa", "--predictions", "p", "--records", "r", "--references", "x"),
            "not both",
        ),
        (("compare", "none.jsonl", "none.jsonl"), "cannot read none.jsonl"),
        (("prepare", "scanqa", "--media", ".", "--split", "val", "--out", "o"), "annotations"),
    ],
)
def test_user_errors_are_one_line(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and says in err and err.count("\n") == 1


def test_examples_that_make_no_record_are_named(music: Path):
    rows = json.loads((music / "avqa-test.json").read_text())
    (music / "avqa-test.json").write_text(json.dumps([{**rows[0], "question_id": ""}]))
    with pytest.raises(
        RecordError, match="example '' cannot become a record: id: .*check the annotation file"
    ):
        prepare(get_task("music-avqa"), [music / "avqa-test.json"], music / "media", "test")


def test_a_records_file_needs_a_name(music: Path):
    prepared = prepare(get_task("music-avqa"), [music / "avqa-test.json"], music / "media", "test")
    with pytest.raises(ConfigError, match="is not a file; name the records file"):
        write(prepared, "")
