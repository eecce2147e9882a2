"""A third party's package adds an encoder, a family, a task and a fusion; every verb takes them.

The package lies in `tests/plugin`. It is put beside pave as pip would put it: its files, and a
`dist-info` folder whose `entry_points.txt` announces what it has.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import toy
from pave.data import Record, Turn, write_records

HERE = Path(__file__).parent
MAKE_BASE = """
import sys
from odd.family import OddConfig, OddForConditionalGeneration
from pave.testing import tiny_base

plain = tiny_base("llava_onevision")
config = OddConfig.from_dict({**plain.config.to_dict(), "model_type": "odd_video"})
model = OddForConditionalGeneration(config)
model.load_state_dict(plain.model.state_dict())
model.save_pretrained(sys.argv[1])
plain.tokenizer.save_pretrained(sys.argv[1])
"""
VERBS = """
import sys
from pave.cli import main

for line in sys.stdin.read().splitlines():
    words = line.split("|")
    print("==", words[0])
    code = main(words)
    if code:
        sys.exit(f"{words}: exit code {code}")
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where Python finds the package of `tests/plugin` as an installed one."""
    site = tmp_path / "site"
    shutil.copytree(HERE / "plugin" / "odd", site / "odd")
    about = site / "odd-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: odd\nVersion: 1.0\nSummary: odd levels\n"
    )
    shutil.copy(HERE / "plugin" / "entry_points.txt", about)
    places = [str(site), str(HERE.parent / "src")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def run(code: str, *words: str, stdin: str = "", env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        input=stdin,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def make_records(folder: Path) -> Path:
    """Four clips of one picture, whose levels alone tell the answer."""
    frames = toy.frames(folder / "frames")
    made = []
    for number in range(4):
        level = number % 2
        rows = [f"{second},{level}" for second in range(3)]
        (folder / f"{number}.csv").write_text("\n".join(rows))
        turn = Turn(question="High or low?", answer=("low", "high")[level])
        record = Record(
            id=str(number),
            video=str(frames),
            channels={"odd": str(folder / f"{number}.csv")},
            turns=[turn],
            meta={"channel": "odd"},
        )
        made.append(record)
    write_records(folder / "records.jsonl", made)
    return folder / "records.jsonl"


@pytest.mark.slow
def test_every_verb_takes_what_a_package_adds(tmp_path: Path, environment: dict[str, str]) -> None:
    base = tmp_path / "base"
    run(MAKE_BASE, str(base), env=environment)
    records = make_records(tmp_path)
    out, results = tmp_path / "run", tmp_path / "results"
    train = f"train|--records|{records}|--out|{out}|--base|{base}|--channel|odd|--encoder|level"
    train += "|--fusion.type|mean|--lora.rank|2|--steps|2|--frames|4|--questions-per-video|1"
    score = f"eval|--records|{records}|--out|{results}|--base|{base}|--task|odd-task|--no-plot"
    score += f"|--arms.base|none|--arms.patch|{out / 'patch'}|--frames|4|--max-new-tokens|2"
    ask = f"ask|{tmp_path / 'frames'}|High or low?|--base|{base}|--patch|{out / 'patch'}"
    ask += f"|--channel|odd={tmp_path / '0.csv'}|--max-new-tokens|2"
    lines = ["bases", "channels", train, f"info|{out / 'patch'}", score, ask]
    said = run(VERBS, stdin="\n".join(lines), env=environment)

    parts = dict(part.split("\n", 1) for part in said.split("== ")[1:])
    assert "odd_video" in parts["bases"]
    assert "odd" in parts["channels"]
    assert "level" in parts["channels"]
    # The patch names all of them, and nothing of them had to be imported by hand.
    patch = json.loads((out / "patch" / "patch.json").read_text())
    assert patch["base"]["fingerprint"]["family"] == "odd"
    assert patch["fusion"]["type"] == "mean"
    assert patch["encoder"]["name"] == "level"
    scores = json.loads((results / "results.json").read_text())
    assert scores["task"]["title"] == "Odd levels"
    assert set(scores["task"]["arms"]) == {"base", "patch"}
    assert parts["ask"].strip() != ""


@pytest.mark.slow
def test_without_the_package_each_name_is_refused(tmp_path: Path) -> None:
    """What a user sees who got the patch and not the package."""
    records = make_records(tmp_path)
    words = f"train|--records|{records}|--out|{tmp_path / 'run'}|--channel|odd|--encoder|level"
    env = {**os.environ, "PYTHONPATH": str(HERE.parent / "src")}
    with pytest.raises(AssertionError, match="unknown channel 'odd'|no encoder 'odd/level'"):
        run(VERBS, stdin=words, env=env)
