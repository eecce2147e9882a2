"""A token cache that holds every token serves training and evaluation where nothing can be written.

Root may write anywhere, so the process that reads the cache gives that right up (`setpriv`).
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import tinyrun
from pave.bases import load_base
from pave.cache import TokenCache
from pave.data.base_digests import known_tower_digest
from pave.extract import ExtractConfig, extract
from pave.files import PlaceError

READS = """
import sys
from pathlib import Path
from pave.evaluate import EvalConfig, evaluate
from pave.train import TrainConfig, train

records, base, tokens, out = sys.argv[1:]
try:
    Path(tokens, "new").touch()
except PermissionError:
    pass
else:
    sys.exit(77)
common = {"records": records, "base": base, "cache": tokens}
run = train(
    TrainConfig(
        **common, out=f"{out}/train", channel="audio", encoder="mel", steps=2, frames=4,
        fusion={"hidden": 32}, lora={"rank": 2}, align_steps=0, precision="fp32", workers=workers,
    ),
    progress=False,
)
common["workers"] = workers
arms = {"base": None, "patch": [run.patch]}
report = evaluate(
    EvalConfig(**common, out=f"{out}/eval", arms=arms, max_new_tokens=2, plot=False)
)
print(run.steps, report.clips)
"""


def _extracted(folder: Path) -> tinyrun.Run:
    """A run whose tokens are all in `folder / "tokens"`."""
    run = tinyrun.make(folder, clips=3, questions=1)
    settings = {"visual": True, "channel": "audio", "encoder": "mel", "frames": 4}
    wanted = ExtractConfig(
        records=run.records, base=str(run.base), cache=folder / "tokens", workers=0, **settings
    )
    assert extract(wanted).skipped == []
    return run


def _without_root() -> list[str]:
    """What makes the next program obey the modes of files."""
    if os.geteuid():
        return []
    found = shutil.which("setpriv")
    if found is None:
        pytest.skip("root may write anywhere, and there is no setpriv")
    return [found, "--bounding-set=-dac_override"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_train_and_eval_over_a_folder_that_cannot_be_written(tmp_path: Path, workers: int) -> None:
    run = _extracted(tmp_path)
    tokens = tmp_path / "tokens"
    before = {path: path.stat().st_mtime_ns for path in tokens.rglob("*")}
    source = str(Path(__file__).parents[2] / "src")
    script = f"workers = {workers}\n{READS}"
    words = [str(run.records), str(run.base), str(tokens), str(tmp_path / "out")]
    for path in [tokens, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [*_without_root(), sys.executable, "-c", script, *words],
            env={**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    finally:
        for path in [tokens, *before]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    if done.returncode == 77:
        pytest.skip("files can be written here whatever their modes")
    assert (done.returncode, done.stdout) == (0, "2 3\n"), done.stderr
    assert {path: path.stat().st_mtime_ns for path in tokens.rglob("*")} == before


def test_a_tower_whose_digest_cannot_be_kept_is_known_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Tokens made by a base in memory leave no digest of its files behind."""
    run = tinyrun.make(tmp_path, clips=1, questions=1)
    whole = known_tower_digest(load_base(run.base), TokenCache(tmp_path / "tokens"))

    def refuse(*_: object, **__: object) -> None:
        raise PlaceError(errno.EROFS, "Read-only file system", "tokens")

    monkeypatch.setattr(TokenCache, "put", refuse)
    blind = load_base(run.base, tower=False)
    with caplog.at_level(logging.WARNING):
        assert known_tower_digest(blind, TokenCache(tmp_path / "tokens")) == whole
    assert "Read-only file system" in caplog.text
