"""Places that cannot be written: exit code 2 and one line with the user's path.

Other system errors stay bugs of ours.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pave
from pave.cli import main
from pave.cli.app import PLACE_ADVICE, PLACE_ADVICE_WRITING
from pave.errors import TrainError
from pave.files import PlaceError
from pave.train.checkpoints import saving

LONG = "x" * 300
needs_proc = pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a place where nothing can be made"
)


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    file = tmp_path / "predictions.jsonl"
    file.write_text('{"image_id": "v", "caption": "A", "answer": "A"}\n')
    return file


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("pave: error: ") and error.count("\n") == 1 and ".writing-" not in error
    return error


def test_rows_into_a_folder(predictions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "rows").mkdir()
    error = refused(
        capsys, "score", "avqa", "--predictions", predictions, "--rows", tmp_path / "rows"
    )
    assert f"cannot use {tmp_path / 'rows'}: Is a directory; it is a folder; name a file" in error


@pytest.mark.parametrize(
    "out", [LONG, f"{LONG}/{LONG}", pytest.param("/proc/nowhere/at/all", marks=needs_proc)]
)
def test_places_where_nothing_can_be_made(
    out: str,
    predictions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    for words in (
        ("score", "avqa", "--predictions", predictions, "--rows", out),
        ("new-channel", "heart", "--out", out),
    ):
        assert f"cannot use {out}" in refused(capsys, *words)


@pytest.mark.parametrize("number", sorted(PLACE_ADVICE_WRITING))
def test_what_the_system_says_of_a_place_is_the_users_to_mend(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def fail(error: OSError) -> Callable[..., None]:
        def facts(*_: object) -> None:
            raise error

        return facts

    monkeypatch.setattr(
        "pave.cli.output.facts", fail(PlaceError(number, os.strerror(number), "place"))
    )
    assert f"cannot use place: {os.strerror(number)}; " in refused(capsys, "info")
    monkeypatch.setattr("pave.cli.output.facts", fail(OSError(number, os.strerror(number), "file")))
    assert main(["info"]) == (2 if number in PLACE_ADVICE else 1)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EBADF, errno.EINVAL, errno.ECHILD])
def test_other_system_errors_are_our_bugs(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def lost(*_: object) -> None:
        raise OSError(number, os.strerror(number), "file")

    monkeypatch.setattr("pave.cli.output.facts", lost)
    assert main(["info"]) == 1
    assert "unexpected error" in capsys.readouterr().err


@pytest.mark.skipif(
    not Path("/dev/full").is_char_device(), reason="needs a device that is always full"
)
def test_output_that_nobody_can_take():
    environment = {**os.environ, "PYTHONPATH": str(Path(pave.__file__).parents[1])}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pave", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
    assert done.returncode == 2
    advice = "make room, or choose another place"
    assert done.stderr == f"pave: error: cannot use the output: No space left on device; {advice}\n"


def test_torch_hides_why_a_checkpoint_cannot_be_written():
    with (
        pytest.raises(TrainError, match="run/checkpoint-3 cannot be written completely; free some"),
        saving(Path("run/checkpoint-3")),
    ):
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")
    with pytest.raises(RuntimeError, match="another"), saving(Path("run/checkpoint-3")):
        raise RuntimeError("another")
