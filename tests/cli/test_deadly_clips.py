"""Clips that kill the process that reads them, through `pave train` and `pave eval` themselves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import tiny, toy
from pave.data import Record, write_records

SOURCE = Path(__file__).parents[2] / "src"
# An encoder, and a reader of films, that end their process at some clips.
KILLER = """
import os, signal
from pathlib import Path
import torch
from pydantic import BaseModel
from pave.channels import register_encoder
from pave.data import reading
from pave.tokens import Tokens

READ = reading._read

class Settings(BaseModel, extra="forbid"):
    pass

def die(path):
    if "deadly" in Path(path).name:
        os.kill(os.getpid(), signal.SIGSEGV if Path(path).suffix else signal.SIGKILL)

def read(video, sampling):
    die(video)
    return READ(video, sampling)

reading._read = read

@register_encoder("killer", "test", Settings)
class Killer:
    channel, name, dim = "killer", "test", 4
    def __init__(self, settings):
        self.settings = {}
    def encode(self, source):
        die(source)
        return Tokens(torch.ones(1, 1, 4), torch.zeros(1, dtype=torch.float64))
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where Python finds the killer as an installed package."""
    site = tmp_path / "site"
    about = site / "killer_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "killer_plugin.py").write_text(KILLER)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: killer-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pave.encoders]\nkiller.test = killer_plugin\n")
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
    died = "the process that read it died"
    behind = "; a crash in a decoder, or out of memory)"
    refused = (
        f"2 of 6 clips cannot be used: clip1: {tmp_path / 'deadly1.npy'}: {died} (SIGSEGV{behind}; "
        f"clip3: {tmp_path / 'deadly3'}: {died} (SIGKILL{behind}"
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
    done = run("eval", "all.jsonl", *asking, "--out", tmp_path / "answers")
    # The bare base is asked first; what kills readers of films comes with the patch.
    refused = f"1 of 6 clips cannot be used: clip1: {tmp_path / 'deadly1.npy'}: {died} (SIGSEGV"
    assert (done.returncode, done.stderr.count(refused + behind)) == (2, 1), done.stderr
    assert "Traceback" not in done.stderr
