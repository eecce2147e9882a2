"""The page "A sensor of your own", followed to the letter, with fewer clips and steps."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from pave.channels import make_encoder
from pave.cli import main
from pave.data import read_records
from pave_world import make_world

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "a-sensor-of-your-own.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CLIPS = {"400": "4", "40": "3"}
ARMS = ["base", "blind", "prior", "linear", "mlp", "lora", "shuffled", "motion"]


def blocks(kind: str) -> list[str]:
    return [code for found, code in BLOCK.findall(PAGE.read_text("utf-8")) if found == kind]


def commands() -> list[list[str]]:
    """What the page types, with fewer clips."""
    found = []
    for code in blocks("bash"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if "--clips" in words:
                place = words.index("--clips") + 1
                words[place] = CLIPS[words[place]]
            found.append(words)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with the page's script in it."""
    monkeypatch.chdir(tmp_path)
    (script,) = blocks("python")
    (tmp_path / "windows.py").write_text(script)
    return tmp_path


def test_the_script_makes_tokens_of_the_logs(folder: Path) -> None:
    for split, clips in (("train", 3), ("test", 2)):
        small = {"duration": 2.0, "size": 32}
        make_world(folder / split, split, clips=clips, channel="motion", **small)
    runpy.run_path(str(folder / "windows.py"))
    settings = yaml.safe_load(blocks("yaml")[0])["encoder_settings"]
    encoder = make_encoder("features", "file", settings)
    values = []
    for record in read_records(folder / "train.jsonl"):
        assert record.meta["channel"] in ("features", "video")
        tokens = encoder.encode(record.channels["features"])
        assert tokens is not None and tokens.values.shape == (10, 1, 120)
        # The middle of 20 rows, a hundredth of a second apart.
        assert tokens.times.tolist() == pytest.approx(np.arange(10) * 0.2 + 0.095)
        values.append(tokens.values.numpy().reshape(-1, 6))
    # One number of a log and its place in a token.
    log = np.loadtxt(
        folder / "train" / "clips" / "train-motion-00000.csv", delimiter=",", skiprows=1
    )
    every = [
        np.loadtxt(file, delimiter=",", skiprows=1)[:, 1:]
        for file in sorted((folder / "train" / "clips").glob("*.csv"))
    ]
    rows = np.concatenate(every)
    expected = (log[:, 1:] - rows.mean(axis=0)) / rows.std(axis=0)
    assert values[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_it_ends_with_every_arm_and_an_answer(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (settings,) = blocks("yaml")
    small = {**yaml.safe_load(settings), "align_steps": 20, "steps": 3}
    (folder / "motion.yaml").write_text(yaml.safe_dump(small))
    said = ""
    for program, *words in commands():
        if program == "python":
            runpy.run_path(*words)
            continue
        # In this process: to start a process for each line would take most of the time.
        code = main(words)
        said, err = capsys.readouterr()
        assert code == 0, f"{words}\n{err[-3000:]}"
    results = json.loads((folder / "runs" / "eval" / "results.json").read_text("utf-8"))
    assert sorted({row["arm"] for row in results["arms"]}) == sorted(ARMS)
    assert {row["family"] for row in results["arms"]} >= {"features", "video"}
    assert said.strip()
