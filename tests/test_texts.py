"""Text files of others: marks, encodings, depth, size, special files, and printing them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pave.bases.source import read_json as read_base_json
from pave.channels.scene3d.matrices import read_alignment, read_intrinsic, read_matrix
from pave.cli import output
from pave.cli.app import main
from pave.cli.convert import _arguments
from pave.cli.settings import from_words, take_config
from pave.data import read_records
from pave.errors import ConfigError, PaveError, TrainError, printable
from pave.evaluate.arm_files import read_rows
from pave.paper import read_annotations
from pave.tasks.files import read_json, read_predictions
from pave.texts import (
    DEEPEST,
    PrintableFormatter,
    TextError,
    TextFile,
    counted,
    parse_json,
    parse_yaml,
    read_object,
    read_text,
)
from pave.train.checkpoints import WEIGHTS, newest_checkpoint
from pave.train.progress import read_log
from pave.train.settings import load_config

Reader = Callable[[Path], Any]
RECORD = {"id": "a", "video": "v.mp4", "turns": [{"question": "Was hört man?"}]}
SAMPLE = {
    "id": "a",
    "video": "v.mp4",
    "conversations": [
        {"from": "human", "value": "<image>\nWas hört man?"},
        {"from": "gpt", "value": "ü"},
    ],
}
EYE = "\n".join(" ".join(map(str, row)) for row in np.eye(4))
READERS: dict[str, tuple[Reader, str]] = {
    "records": (lambda file: read_records(file, check_media=False), json.dumps(RECORD)),
    "annotations": (read_json, json.dumps([RECORD])),
    "predictions": (read_predictions, '{"id": "a", "prediction": "ü"}'),
    "the authors' annotations": (
        lambda file: read_annotations(file, channel="audio", features={}, videos={}),
        "[]",
    ),
    "the authors' map": (
        lambda file: read_annotations(
            file.with_name("anno.json"), channel="audio", features=file, videos={}
        ),
        '{"a": "a.pt"}',
    ),
    "training settings": (
        lambda file: load_config(file),
        "records: r.jsonl\nout: ü\nchannel: audio\nencoder: mel\n",
    ),
    "settings of the command line": (
        lambda file: take_config(["train", f"--config={file}"]),
        "steps: 5",
    ),
    "model args": (lambda file: _arguments(str(file)), '{"input_dim": 10}'),
    "an object": (lambda file: read_object(file, ConfigError, "delete it"), '{"a": "ü"}'),
}  # fmt: skip
MATRICES: dict[str, tuple[Reader, str]] = {
    "pose": (read_matrix, EYE),
    "upright": (read_alignment, EYE),
    "ScanNet's scene file": (read_alignment, "colorHeight = 968\n"),
    "camera": (read_intrinsic, EYE),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "anno.json").write_text("[]")
    return tmp_path / "file.yaml"


def seen(found: Any) -> str:
    return repr(found.tolist() if isinstance(found, np.ndarray) else found)


@pytest.mark.parametrize("name", [*READERS, *MATRICES])
def test_a_mark_in_front_changes_nothing_and_other_encodings_are_named(file: Path, name: str):
    read, text = (READERS | MATRICES)[name]
    file.write_bytes(text.encode())
    plain = seen(read(file))
    file.write_bytes(text.encode("utf-8-sig"))
    assert seen(read(file)) == plain
    for encoding, word in (("utf-16", "UTF-16"), ("utf-32", "UTF-32"), ("utf-16-le", "UTF-16")):
        file.write_bytes(text.encode(encoding))
        with pytest.raises(PaveError, match=rf"(?s){word}.*save it as UTF-8") as caught:
            read(file)
        assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_joined_files_have_marks_in_their_middle(tmp_path: Path):
    rows = [json.dumps({**RECORD, "id": name}).encode("utf-8-sig") + b"\r\n" for name in "ab"]
    file = tmp_path / "r.jsonl"
    file.write_bytes(b"".join(rows) + b"\xef\xbb\xbf")
    assert [record.id for record in read_records(file, check_media=False)] == ["a", "b"]
    assert [row["id"] for row in read_json(file)] == ["a", "b"]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * (DEEPEST + 1) + "1" + "}" * (DEEPEST + 1),
    ],
)
def test_what_is_nested_too_deeply_is_one_line(file: Path, name: str, text: str):
    file.write_text(text)
    with pytest.raises(PaveError) as caught:
        READERS[name][0](file)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_the_depth_that_is_allowed_is_read(tmp_path: Path):
    text = '{"a":' * DEEPEST + "1" + "}" * DEEPEST
    assert parse_json(text) == parse_yaml(text)
    with pytest.raises(TextError, match="nested too deeply"):
        parse_json(f"[{text}]")
    with pytest.raises(TextError, match="nested too deeply"):
        parse_yaml(f"[{text}]")
    wide = json.dumps([[{"a": number}] for number in range(1000)])
    assert len(parse_json(wide)) == 1000, "many brackets are not deep ones"


@pytest.mark.parametrize(
    "text",
    [
        "a: 2024-02-31",
        "a: !!int ''",
        "a: !!float ''",
        "a: !!timestamp soon",
        "a: !!bool perhaps",
        "a: !!python/object:os.system x",
        "? [a]\n: b",
        "a: &a [*a]",
        "a: \x07",
        "a: *none",
        "a: {",
        "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 1}]" for i in range(9)),
    ],
)
def test_what_yaml_cannot_make_a_value_of(tmp_path: Path, text: str):
    """PyYAML raises some eight kinds of errors, and lets a line name the one before nine times."""
    with pytest.raises(TextError):
        parse_yaml(text)
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"x.yaml"):
        load_config(tmp_path / "x.yaml")
    assert from_words({"fusion": {"a": text}}) == {"fusion": {"a": text}}, "words stay words"


def special(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    (folder / "link").symlink_to("pipe")
    (folder / "folder").mkdir()
    return {
        "a pipe": folder / "pipe",
        "a link to a pipe": folder / "link",
        "a link to itself": folder / "loop",
        "a folder": folder / "folder",
        "a device": Path("/dev/zero"),
        "the kernel's": Path("/proc/self/status"),
        "no name": folder / "a\0b",
        "nothing": folder / "none",
    }


def read_base_rows(file: Path) -> object:
    """The answers of one arm."""
    return read_rows(file, "base")


@pytest.mark.parametrize("name", [*READERS, *MATRICES, "rows", "log"])
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path: Path, name: str):
    readers = READERS | MATRICES | {"rows": (read_base_rows, ""), "log": (read_log, "")}
    (tmp_path / "anno.json").write_text("[]")
    for what, path in special(tmp_path).items():
        if name == "the authors' map":
            path = tmp_path / path
        if name == "model args":  # known by its ending
            continue
        if name in ("rows", "log") and what in ("nothing", "no name", "a link to itself"):
            continue  # nothing was written yet
        if name == "annotations" and what == "a folder":
            continue
        with pytest.raises(PaveError) as caught:
            readers[name][0](path)
        assert "\n" not in str(caught.value), what


def test_a_file_has_a_largest_size(tmp_path: Path):
    file = tmp_path / "huge.json"
    with file.open("wb") as stream:
        stream.truncate(5 << 30)  # takes no room on the disk
    for read in (
        lambda: read_records(file),
        lambda: read_json(file),
        lambda: load_config(file),
        lambda: read_object(file, ConfigError, "delete it"),
    ):
        with pytest.raises(
            PaveError, match=r"huge.json: has 5,368,709,120 bytes, more than the limit of"
        ):
            read()


def test_a_number_or_a_letter_that_python_refuses(tmp_path: Path):
    with pytest.raises(TextError, match="thousands of digits"):
        parse_json("9" * 5000)
    with pytest.raises(TextError, match="half of a surrogate pair"):
        parse_json('{"\\ud800": 1}')
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"
    (tmp_path / "x").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"x: is not UTF-8 \(.* at byte 3\); help"):
        read_text(TextFile(tmp_path / "x", ConfigError, "help"))


@pytest.mark.parametrize(
    "state", ["{}", "[]", "3", '{"global_step": null}', "[" * 100_000, "\xff", ""]
)
def test_a_trainer_state_of_another_kind_is_no_checkpoint(tmp_path: Path, state: str):
    import torch
    from safetensors.torch import save_file

    from pave import hf_compat

    place = tmp_path / "checkpoint-7"
    place.mkdir()
    for name in hf_compat.checkpoint_files(1):
        (place / name).write_bytes(b"x")
    save_file({"a": torch.zeros(1)}, place / WEIGHTS)
    (place / hf_compat.TRAINER_STATE).write_text('{"global_step": 7}')
    assert newest_checkpoint(tmp_path) == place
    (place / hf_compat.TRAINER_STATE).write_text(state, encoding="latin-1")
    assert newest_checkpoint(tmp_path) is None


def test_config_of_a_base(tmp_path: Path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8-sig")
    assert read_base_json(str(tmp_path), "config.json") == {}
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(PaveError, match="nested too deeply"):
        read_base_json(str(tmp_path), "config.json")


EVIL = "\x1b[2J\x1b]0;gone\x07 \x9b31m \u202eevil \x7f \r"


def test_nothing_that_is_printed_steers_a_terminal(capsys: pytest.CaptureFixture[str]):
    """ECMA-48: sequences begin with ESC or a C1 byte; Unicode's UAX 9: marks that turn text."""
    output.line(EVIL)
    output.as_json({EVIL: [EVIL]})
    output.facts([("name", EVIL)])
    output.table(["name", "n"], [[EVIL, "1"]])
    output.some("names", [EVIL])
    assert main(["info", f"/nowhere/{EVIL}.mp4"]) == 2
    assert main(["info", f"/nowhere/{EVIL}.mp4", "--debug"]) == 2
    said = capsys.readouterr()
    for letter in said.out + said.err:
        assert letter.isprintable() or letter in "\n\t", hex(ord(letter))
    assert "\\u001b[2J" in said.out and "\\u001b[2J" in said.err
    record = logging.LogRecord("pave", logging.WARNING, "", 1, EVIL, (), None)
    assert "\x1b" not in PrintableFormatter("%(message)s").format(record)


@pytest.mark.parametrize(
    ("number", "words", "shown"),
    [
        (0, ("clip",), "0 clips"),
        (1, ("clip",), "1 clip"),
        (12345, ("clip",), "12,345 clips"),
        (1, ("process", "processes"), "1 process"),
        (2, ("file is", "files are"), "2 files are"),
    ],
)
def test_counts_have_their_grammar(number: int, words: tuple[str, ...], shown: str):
    assert counted(number, *words) == shown


def test_printing_keeps_json_and_ordinary_text(capsys: pytest.CaptureFixture[str]):
    text = "Grüße, 世界 \U0001f600\tx\nשלום"
    assert printable(text) == text
    output.as_json({EVIL: [EVIL, text]})
    assert json.loads(capsys.readouterr().out) == {EVIL: [EVIL, text]}


def test_run_files_of_another_kind(tmp_path: Path):
    for text in ("[" * 100_000, "[]", "{", "\x00"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(TrainError, match=r"run.json is damaged .*; use another"):
            read_object(tmp_path / "run.json", TrainError, "use another")
