"""Clips that kill the process that reads them, through `pave train` and `pave eval` themselves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import killer, tiny, toy
from pave.data import Record, write_records

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where Python finds the killer as an installed package."""
    site = killer.install(tmp_path / "site")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(SOURCE)]),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def clips(folder: Path) -> list[Record]:
    """Six clips: the second dies in the encoder, the fourth in the reader of its film."""
    row = toy.records(folder, clips=1, questions=1)[0]
    made = []
    for number in range(6):
        sound = folder / f"{'deadly' if number == 1 else 'good'}{number}.npy"
        sound.write_text(str(number))
        film = toy.frames(folder / f"{'deadly' if number == 3 else 'film'}{number}", seed=number)
        changed = {"id": f"clip{number}", "video": str(film), "channels": {"killer": str(sound)}}
        made.append(row.model_copy(update=changed))
    return made


@pytest.mark.slow
def test_train_and_eval_name_them_and_have_read_all_others(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    base = tiny.base()
    base.model.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    records = clips(tmp_path)
    good = [record for record in records if record.id not in ("clip1", "clip3")]
    write_records(tmp_path / "all.jsonl", records)
    write_records(tmp_path / "good.jsonl", good)
    behind = "; repair them or remove their records"
    refused = (
        f"2 of 6 clips cannot be used: clip1: {tmp_path / 'deadly1.npy'}: "
        f"{killer.died('SIGSEGV')}; clip3: {tmp_path / 'deadly3'}: {killer.died('SIGKILL')}{behind}"
    )

    def run(verb: str, rows: str, *words: object) -> subprocess.CompletedProcess[str]:
        command = [verb, "--records", tmp_path / rows, "--base", tmp_path / "base", "--frames", 4]
        command += ["--cache", tmp_path / "cache", *words]
        return subprocess.run(
            [sys.executable, "-m", "pave", *map(str, command)],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=500,
            check=False,
        )

    training = ["--channel", "killer", "--encoder", "test", "--fusion.hidden", 16]
    training += ["--lora.rank", 2, "--steps", 2, "--out", tmp_path / "run"]
    done = run("train", "all.jsonl", *training)
    assert (done.returncode, done.stderr.count(refused)) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr
    # The clips behind a deadly one were read all the same, and are found now.
    done = run("train", "good.jsonl", *training)
    assert done.returncode == 0, done.stderr
    assert re.search(r"tokens of 0 clips computed, 4 found", done.stderr), done.stderr

    asking = ["--arms.base", "none", "--arms.killer", tmp_path / "run" / "patch"]
    asking += ["--max-new-tokens", 2, "--no-plot", "--resamples", 100]
    done = run("eval", "all.jsonl", *asking, "--out", tmp_path / "refused")
    # The bare base's reader of films is another one; the patch's encoder comes with its killer.
    refused = f"1 of 6 clips cannot be used: clip1: {tmp_path / 'deadly1.npy'}: "
    refused += killer.died("SIGSEGV") + behind
    assert (done.returncode, done.stderr.count(refused)) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr
    # Found before anybody was asked.
    assert not list((tmp_path / "refused").glob("*.jsonl"))
    done = run("eval", "good.jsonl", *asking, "--out", tmp_path / "answers")
    assert done.returncode == 0, done.stderr
    wanted = {record.id for record in good}
    for arm in ("base", "killer"):
        lines = (tmp_path / "answers" / f"{arm}.jsonl").read_text().splitlines()
        assert {json.loads(line)["id"] for line in lines} == wanted
