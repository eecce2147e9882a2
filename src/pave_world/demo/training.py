"""The middle of the demo: runs of `pave train`, side by side where there are several."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import pave
from pave.errors import TrainError
from pave.files import make_folder, write_text_atomically, writing
from pave.train import TrainConfig
from pave.train.progress import read_log
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import Progress

CONTROL = "LoRA-only"
LOG = "train_log.jsonl"
_POLL = 0.5  # seconds between looks at the runs
_TELLS = 4  # lines about a training
_ALPHA = 0.25  # families of a tenth of the questions fill a third of the batches


@dataclass(frozen=True)
class Run:
    """One training process.

    Attributes:
        name: The arm's name.
        config: Its settings.
        process: The running process.
        output: Where its output goes.
    """

    name: str
    config: TrainConfig
    process: subprocess.Popen[bytes]
    output: Path

    def state(self) -> tuple[int, float | None]:
        """Steps done and the last loss, as its log says."""
        rows = read_log(self.config.out / LOG)
        return (int(rows[-1]["step"]), float(rows[-1]["loss"])) if rows else (0, None)

    def share(self, step: int) -> float:
        """How much of the run is done after a step."""
        return step / (self.config.steps or 1)


def run_configs(config: DemoConfig, records: Path) -> dict[str, TrainConfig]:
    """The two runs: all settings are the same but for the channel and its fusion."""
    steps = config.steps or config.preset.steps
    same = {
        "base": config.base,
        **_lessons(config, records),
        "cache": config.cache,
        "lora": config.lora,
        "steps": steps,
        "batch_clips": config.batch_clips or config.preset.batch_clips,
        "accumulation": config.accumulation,
        "precision": config.precision,
        "patch_dtype": config.patch_dtype,
        "questions_per_video": config.questions_per_video,
        "lr_lora": config.lr_lora,
        "lr_fusion": config.lr_fusion,
        "lr_gate": config.lr_gate,
        "seed": config.seed,
        "log_every": max(1, min(10, steps // 10)),
        "task": f"the embedded world, {config.channel}",
    }
    senses = {
        "channel": config.channel,
        "encoder": config.encoder,
        "encoder_settings": config.encoder_settings,
        "fusion": config.fusion,
        "align_steps": config.align_steps,
        "align_share": config.align_share,
        "align_families": config.align_families,
    }
    return {
        CONTROL: TrainConfig.model_validate({**same, "out": config.out / "runs" / CONTROL}),
        config.patch_arm: TrainConfig.model_validate(
            {**same, **senses, "out": config.out / "runs" / config.patch_arm}
        ),
    }


def _lessons(config: DemoConfig, records: Path) -> dict[str, Any]:
    """What both runs train on: the records, and some families of questions once more."""
    if not config.focus_families:
        return {"records": records}
    everything = {"records": records}
    focus = {"records": records, "families": config.focus_families}
    return {"mixture": {"alpha": _ALPHA, "files": {"all": everything, "focus": focus}}}


def train_both(
    config: DemoConfig, records: Path, progress: Progress, say: Callable[[str], None]
) -> dict[str, TrainConfig]:
    """Train control and patch side by side.

    A run that was interrupted goes on, a finished one is left alone.

    Args:
        config: The demo's settings.
        records: Records to train on.
        progress: Called with (run, steps done, steps) about twice a second.
        say: Gets a line at each quarter.

    Returns:
        Arm -> settings of its run; the patches are in their `patch_folder`.

    Raises:
        TrainError: If a run ends with an error; the other one is stopped.
    """
    configs = run_configs(config, records)
    runs = []
    try:
        for name, settings in configs.items():
            if not (settings.patch_folder / "patch.json").is_file():
                runs.append(_start(name, settings, config))
        _watch(runs, progress, say)
    finally:
        for run in runs:
            _stop(run.process)
    return configs


def curves(configs: Mapping[str, TrainConfig]) -> dict[str, list[tuple[float, float]]]:
    """Arm -> (step, loss) points of its log."""
    found = {}
    for name, settings in configs.items():
        rows = read_log(settings.out / LOG)
        found[name] = [(float(row["step"]), float(row["loss"])) for row in rows]
    return found


def _start(name: str, settings: TrainConfig, config: DemoConfig) -> Run:
    """Write the run's settings, ready for `pave train --config`, and start it."""
    make_folder(settings.out)
    file = settings.out.with_suffix(".yaml")
    write_text_atomically(
        file,
        yaml.safe_dump(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=False),
    )
    threads = str(config.threads)
    source = str(Path(pave.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # Threads that wait give the core away: on a busy machine spinning takes minutes.
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": path,  # the same pave as this process has
    }
    output = settings.out.with_suffix(".log")
    with writing(output), output.open("wb") as log:
        command = [sys.executable, "-m", "pave", "train", "--config", str(file)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    return Run(name, settings, process, output)


def _watch(runs: list[Run], progress: Progress, say: Callable[[str], None]) -> None:
    """Until all have ended, move the bars and say a line at each quarter.

    Raises:
        TrainError: As soon as one has failed.
    """
    started = time.monotonic()  # a clock that no one sets back
    quarters = 0  # told so far
    while True:
        codes = [run.process.poll() for run in runs]
        for run, code in zip(runs, codes, strict=True):
            if code:
                raise TrainError(
                    f"the run {run.name!r} failed: {_last_line(run.output)} (all of its output: "
                    f"{run.output})"
                )
        states = [run.state() for run in runs]
        for run, (step, _) in zip(runs, states, strict=True):
            progress(run.name, step, run.config.steps or step)
        if None not in codes:
            return
        took = time.monotonic() - started
        # Told is the share of the run that is behind.
        share = min(run.share(step) for run, (step, _) in zip(runs, states, strict=True))
        if int(share * _TELLS) > quarters:
            quarters = int(share * _TELLS)
            say(_line(runs, states, took * (1 - share) / share))
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(run.process for run, code in zip(runs, codes, strict=True) if code is None).wait(
                _POLL
            )


def _line(runs: list[Run], states: list[tuple[int, float | None]], left: float) -> str:
    """Steps and losses of the runs in one line, and about how many seconds are left."""
    parts = []
    for run, (step, loss) in zip(runs, states, strict=True):
        parts.append(
            f"{run.name} step {step} of {run.config.steps}"
            + ("" if loss is None else f", loss {loss:.3f}")
        )
    return "  " + "; ".join(parts) + f"; about {left:.0f} s left"


def _last_line(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("pave: error: ") if lines else "it said nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a run that is still going (its checkpoints stay)."""
    if process.poll() is None:  # still running
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
