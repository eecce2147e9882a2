"""An evaluation in shares: several processes, killed or not, leave the very files of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import pave
from helpers import tinyrun
from pave.answer import batches
from pave.bases import Base, load_base
from pave.cli import main
from pave.errors import ConfigError
from pave.evaluate import EvalConfig, compare_files, evaluate, evaluate_share

# `pave eval` that is killed (not interrupted: nothing is cleaned up) instead of answering the batch
# after so many.
SCRIPT = """
import os, signal, sys
from pave.cli import main
from pave.answer import batches
real, left = batches.generate, [int(sys.argv[1])]
def answer(*given):
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return real(*given)
batches.generate = answer
sys.exit(main(sys.argv[2:]))
"""
NEVER = -1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def base(made: tinyrun.Run) -> Base:
    return load_base(made.base)


@pytest.fixture(scope="module")
def plain(
    made: tinyrun.Run, base: Base, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The answers of one uninterrupted process."""
    out = tmp_path_factory.mktemp("plain")
    evaluate(_config(made, out), base)
    return _answers(out)


def _config(made: tinyrun.Run, out: Path, **changes: object) -> EvalConfig:
    settings = {
        "frames": 4,
        "batch": 2,
        "max_new_tokens": 6,
        "cache": made.records.parent / "cache",
        "resamples": 100,
    }
    arms = {"base": None, "sound": made.patch}
    given = {
        "records": made.records,
        "out": out,
        "base": str(made.base),
        "arms": arms,
        "plot": False,
    }
    return EvalConfig.model_validate({**given, **settings, **changes})


def _answers(out: Path) -> dict[str, bytes]:
    return {
        file.name: file.read_bytes()
        for file in sorted(out.glob("*.jsonl"))
        if ".part-" not in file.name
    }


@pytest.mark.parametrize("order", [("1/2", "2/2"), ("3/3", "1/3", "2/3")])
def test_shares_in_any_order_leave_the_files_of_one_process(
    made: tinyrun.Run, base: Base, plain: dict[str, bytes], tmp_path: Path, order: tuple[str, ...]
) -> None:
    shares = [evaluate_share(_config(made, tmp_path, shard=shard), base) for shard in order]
    assert [share.report is not None for share in shares] == [False] * (len(order) - 1) + [True]
    assert [share.answered for share in shares] == sorted({share.answered for share in shares})
    assert shares[-1].answered == shares[-1].total == 24
    assert _answers(tmp_path) == plain
    assert len(list(tmp_path.glob("*.part-*-of-*.jsonl"))) == 2 * len(order)
    assert json.loads((tmp_path / "results.json").read_text())["settings"]["shard"] is None
    assert compare_files(tmp_path / "base.jsonl", tmp_path / "sound.jsonl").shared == 12


def test_without_a_shard_missing_parts_are_answered(
    made: tinyrun.Run,
    base: Base,
    plain: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate_share(_config(made, tmp_path, shard="2/2"), base)
    part = tmp_path / "sound.part-2-of-2.jsonl"
    part.write_bytes(
        part.read_bytes()[:-9]
    )  # as a kill leaves it, or another process that is writing
    torn = part.read_bytes()
    asked = []
    real = batches.generate
    monkeypatch.setattr(batches, "generate", lambda *given: asked.append(1) or real(*given))
    evaluate(_config(made, tmp_path), base)
    assert _answers(tmp_path) == plain
    assert part.read_bytes() == torn, "another process's file is read, not mended"
    assert 0 < len(asked) < 12
    monkeypatch.setattr(batches, "generate", None)
    assert evaluate_share(_config(made, tmp_path, shard="1/2"), base).report is not None, (
        "nothing is left to ask"
    )


def test_a_share_is_checked_and_is_not_a_whole(
    made: tinyrun.Run, base: Base, tmp_path: Path
) -> None:
    for wrong in ("3/2", "0/2", "half", "2"):
        with pytest.raises(ValueError, match="shard must be like 2/8"):
            _config(made, tmp_path, shard=wrong)
    with pytest.raises(ConfigError, match="evaluate_share"):
        evaluate(_config(made, tmp_path, shard="1/2"), base)
    evaluate_share(_config(made, tmp_path, shard="1/2"), base)
    with pytest.raises(ConfigError, match=r"other settings \(max_new_tokens\)"):
        evaluate_share(_config(made, tmp_path, shard="2/2", max_new_tokens=3), base)


def _words(made: tinyrun.Run, out: Path) -> list[str]:
    arms = ["--arms.base", "none", "--arms.sound", str(made.patch)]
    settings = [
        "--frames",
        "4",
        "--batch",
        "2",
        "--max-new-tokens",
        "6",
        "--resamples",
        "100",
        "--no-plot",
    ]
    return [
        "eval",
        "--records",
        str(made.records),
        "--base",
        str(made.base),
        "--out",
        str(out),
        *arms,
        *settings,
    ]


def _start(killed_after: int, words: list[str]) -> subprocess.Popen[str]:
    source = str(Path(pave.__file__).parents[1])
    environment = {
        **os.environ,
        "PYTHONPATH": source,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-c", SCRIPT, str(killed_after), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
def test_two_processes_one_of_them_killed_leave_the_files_of_one(
    made: tinyrun.Run, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both start at once; the first is killed while the second arm answers, and goes on."""
    shared, alone = _words(made, tmp_path / "shared"), _words(made, tmp_path / "alone")
    first, second = (
        _start(4, [*shared, "--shard", "1/2"]),
        _start(NEVER, [*shared, "--shard", "2/2"]),
    )
    _, complaint = first.communicate(timeout=300)
    said, error = second.communicate(timeout=300)
    assert (first.returncode, second.returncode) == (-signal.SIGKILL, 0), (complaint, error)
    assert said.startswith("part 2/2 is done; ") and not _answers(tmp_path / "shared")
    killed = _start(7, alone)
    killed.communicate(timeout=300)
    assert killed.returncode == -signal.SIGKILL
    again = _start(NEVER, [*shared, "--shard", "1/2", "--json"])
    report, error = again.communicate(timeout=300)
    assert again.returncode == 0, error
    assert [row["arm"] for row in json.loads(report)["arms"]][:2] == ["base", "sound"]
    assert main(alone) == 0
    assert "exact match" in capsys.readouterr().out
    assert _answers(tmp_path / "shared") == _answers(tmp_path / "alone") == plain
