"""The control arms of a finished run: how much of a score is language, and what the tokens hold.

Blind is the LoRA-only patch without the clip, shuffled the patch with another clip's channel.
Probes learn from the training clips of the run's own world. `pave eval` asks them all, once a run.
"""

from __future__ import annotations

from pathlib import Path

from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN
from pave_world.films.make import RECORDS

BLIND, SHUFFLED, PRIOR = "blind", "shuffled", "prior"
PROBES = ("linear", "mlp", "attention")
ARMS = (BLIND, SHUFFLED, PRIOR, *PROBES)
"""In the order in which they are asked: a difference is of a later arm to an earlier one."""


def folder_of(config: DemoConfig) -> Path:
    """Where the answers of a run's control arms lie."""
    return config.out / "controls"


def command_of(config: DemoConfig) -> list[str]:
    """What to type after `pave` for the control arms of a finished run."""
    control, patch = config.out / "control", config.out / "patch"
    words = ["eval", "--records", str(config.world(TEST) / RECORDS)]
    words += ["--train-records", str(config.world(TRAIN) / RECORDS)]
    words += ["--out", str(folder_of(config)), "--cache", str(config.cache)]
    words += ["--base", config.base, "--seed", str(config.seed), "--no-plot"]
    words += ["--batch", str(config.batch_questions)]
    words += ["--max-new-tokens", str(config.max_new_tokens)]
    words += [f"--arms.{BLIND}", f"blind:{control}", f"--arms.{SHUFFLED}", f"shuffled:{patch}"]
    words += [f"--arms.{PRIOR}", "prior:"]
    for kind in PROBES:
        words += [f"--arms.{kind}", f"{kind}:{patch}"]
    return words


def are_asked(config: DemoConfig) -> bool:
    """Whether the control arms of a run are finished, all of them.

    A run of a version that had fewer arms is not: the same command then asks those it lacks.
    """
    folder = folder_of(config)
    files = [folder / f"{arm}.jsonl" for arm in ARMS]
    return (folder / "results.json").is_file() and all(file.is_file() for file in files)
