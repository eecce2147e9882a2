"""The fuzzer tells apart what may happen to an input, and a minute of it finds nothing in pave."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pave.errors import MediaError

ROOT = Path(__file__).resolve().parents[1]
FUZZ = ROOT / "tools" / "fuzz"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FUZZ))
    module = importlib.import_module("child")
    monkeypatch.setattr(module, "CPU_SECONDS", 1)
    monkeypatch.setattr(module, "WALL_SECONDS", 5.0)
    monkeypatch.setattr(module, "SPARE_MEMORY", 1 << 28)
    return module


def fail(error: Exception) -> None:
    raise error


def spin() -> None:
    while True:
        pass


WORK: dict[str, Callable[[], object]] = {
    "ok": lambda: None,
    "typed MediaError": lambda: fail(MediaError("no")),
    "untyped ValueError": lambda: fail(ValueError("no")),
    "untyped exit 0": lambda: os._exit(0),
    "memory MemoryError": lambda: bytes(1 << 30),
    "signal SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang SIGXCPU": spin,
}


@pytest.mark.parametrize("signature", WORK)
def test_verdicts(child: ModuleType, tmp_path: Path, signature: str) -> None:
    assert child.run(WORK[signature], tmp_path / "log").signature == signature


@pytest.mark.slow
def test_who_waits_for_ever_is_ended(child: ModuleType, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    start = time.monotonic()
    verdict = child.run(lambda: (tmp_path / "pipe").read_bytes(), tmp_path / "log")
    assert verdict.signature == "hang wall time" and time.monotonic() - start < 60


def test_a_number_gives_the_same_damage_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    damage = importlib.import_module("damage")
    row = json.dumps({"id": "1", "turns": [{"question": "?", "answer": "!"}]}) + "\n"
    seen = set()
    for number in range(40):
        results = []
        for copy in "ab":
            folder = tmp_path / f"{number}{copy}"
            folder.mkdir()
            file = folder / "records.jsonl"
            file.write_text(row * 3)
            damage.damage(folder, [file], random.Random(f"records:{number}"))
            results.append(file.read_bytes() if file.is_file() else None)
        assert results[0] == results[1]
        seen.add(results[0])
    assert len(seen) > 30


SPECIAL = {
    "zero": "/dev/zero",
    "kernel": "/proc/kmsg",
    "link to a file": "patch.json",
    "loop": "weights",
}


def put_special(place: Path, kind: str) -> None:
    """Something that to read would never end, or that is not ours."""
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(SPECIAL[kind])


@pytest.mark.parametrize("kind", [*SPECIAL, "pipe"])
def test_the_parent_opens_regular_files_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    """It has no limits: to read `/dev/zero` or a pipe would never end."""
    monkeypatch.syspath_prepend(str(FUZZ))
    damage = importlib.import_module("damage")
    folder = tmp_path / "input"
    folder.mkdir()
    manifest = folder / "patch.json"
    manifest.write_text('{"files": {"weights": "old"}}')
    put_special(folder / "weights", kind)
    damage.rehash(folder)
    assert "old" in manifest.read_text()
    for number in range(50):
        damage._add(folder / "weights", random.Random(number))
    assert sorted(path.name for path in folder.iterdir()) == ["patch.json", "weights"]
    (folder / "weights").unlink()
    (folder / "weights").write_bytes(b"new")
    damage.rehash(folder)
    assert "old" not in manifest.read_text()


def test_hashes_of_places_that_a_manifest_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(FUZZ))
    damage = importlib.import_module("damage")
    for name in ("/proc/kmsg", "/dev/zero", "../../../../../../../proc/kmsg", "a\0b", "", "."):
        text = json.dumps({"files": {name: "old"}})
        (tmp_path / "patch.json").write_text(text)
        damage.rehash(tmp_path)
        assert (tmp_path / "patch.json").read_text() == text


@pytest.mark.slow
def test_a_minute_of_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """The sound input of each case, and a damaged one: a minute where nothing else runs."""
    command = [sys.executable, str(FUZZ), "--rounds", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    verdicts = json.loads((tmp_path / "state.json").read_text())["verdicts"]
    assert len(verdicts) > 50
    assert {sum(counts.values()) for counts in verdicts.values()} == {2}
    assert all(counts.get("ok") for counts in verdicts.values())  # the sound ones
