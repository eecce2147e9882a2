"""Where the next parameter of a patch is worth most: one thing at a time made smaller and larger.

    python benchmarks/budget.py                   # all of it: 36 trainings, a night on two cores
    python benchmarks/budget.py --steps 60 --train-clips 120 --test-clips 60    # a first look
    python benchmarks/budget.py --write-only      # the page alone, from the runs that are done

One sound and one depth task of the embedded world, on the world of seed 0, on which settings are
chosen. Around the demo's settings each point differs in one thing: rank or scale of the LoRA, width
or blocks of the fusion, side tokens a second. Runs are those of `pave train`, and a LoRA of another
shape has a LoRA-only control of its own. What is interrupted goes on; docs/budget.md is made of
whatever is finished.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from budget_page import write_page
from budget_points import AXES, CHANNELS, Point, points

from pave.files import make_folder, write_text_atomically
from pave.train import TrainConfig
from pave_world import make_world
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN, encode_clips
from pave_world.demo.training import CONTROL, run_configs
from pave_world.films.make import RECORDS


def main() -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", nargs="+", choices=CHANNELS, default=list(CHANNELS))
    parser.add_argument("--axes", nargs="+", choices=list(AXES), default=list(AXES))
    parser.add_argument("--steps", type=int, help="of each training (default: the demo's)")
    parser.add_argument("--train-clips", type=int, default=600)
    parser.add_argument("--test-clips", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("outputs/budget"))
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    args = parser.parse_args()
    middles = {}
    for channel in CHANNELS:
        # The world, too: other numbers of clips are another measurement.
        settings = {
            "channel": channel,
            "seed": args.seed,
            "steps": args.steps,
            "train_clips": args.train_clips,
            "test_clips": args.test_clips,
            "out": args.out / channel,
        }
        middles[channel] = DemoConfig.model_validate(settings).resolved()
    if not args.write_only:
        for middle, point in _in_order(middles, args.channels, args.axes):
            if not run_point(middle, point):
                return 1
    write_page(list(middles.values()))
    return 0


def _in_order(
    middles: dict[str, DemoConfig], channels: Sequence[str], axes: Sequence[str]
) -> Iterator[tuple[DemoConfig, Point]]:
    """The middle of every task, then axis by axis: what is interrupted has all tasks alike."""
    for axis in ("", *axes):
        for channel in channels:
            for point in points(middles[channel]):
                if point.axis == axis:
                    yield middles[channel], point


def run_point(middle: DemoConfig, point: Point) -> bool:
    """Train and ask the control and the patch of a point, where that is not done yet."""
    claim(middle)
    for split, clips in ((TRAIN, middle.train_clips), (TEST, middle.test_clips)):
        if not (middle.world(split) / RECORDS).is_file():
            make_world(
                middle.world(split),
                split,
                clips,
                middle.seed,
                middle.channel,
                questions_per_clip=middle.questions_per_clip,
            )
    for name, settings in runs_of(middle, point).items():
        if not (settings.patch_folder / "patch.json").is_file():
            # Before the training, whose processor seconds are the point's cost.
            files = {split: middle.world(split) / RECORDS for split in (TRAIN, TEST)}
            one = point.config(middle).model_copy(update={"workers": 1})
            encode_clips(one, files, lambda *_: None)
        if not (_trained(name, settings, middle) and _asked(name, settings, middle)):
            return False
    return True


def claim(middle: DemoConfig) -> None:
    """Make the folder belong to these settings.

    Raises:
        SystemExit: If it holds runs of other ones, which are not to be compared with these.
    """
    note = middle.out / "budget.json"
    text = middle.model_dump_json(indent=2)
    if note.is_file() and json.loads(note.read_text("utf-8")) != json.loads(text):
        raise SystemExit(f"{middle.out} holds runs with other settings; choose another --out")
    make_folder(middle.out)
    write_text_atomically(note, text)


def runs_of(middle: DemoConfig, point: Point) -> dict[str, TrainConfig]:
    """Name -> settings of the control and the patch of a point."""
    config = point.config(middle)
    both = run_configs(config, config.world(TRAIN) / RECORDS)
    found = {}
    for name, arm in ((point.control, CONTROL), (point.name, config.patch_arm)):
        found[name] = both[arm].model_copy(update={"out": middle.out / "runs" / name})
    return found


def _trained(name: str, settings: TrainConfig, middle: DemoConfig) -> bool:
    """Train, unless that is done; its processor seconds are written down beside the run."""
    if (settings.patch_folder / "patch.json").is_file():
        return True
    folder = middle.out / "runs"
    make_folder(folder)
    file = folder / f"{name}.yaml"
    values = settings.model_dump(mode="json", exclude_defaults=True)
    write_text_atomically(file, yaml.safe_dump(values, sort_keys=False))
    return _run(["train", "--config", str(file)], folder / f"{name}.json")


def _asked(name: str, settings: TrainConfig, middle: DemoConfig) -> bool:
    """Ask the patch about the held-out clips, unless that is done."""
    out = middle.out / "eval" / name
    if (out / "results.json").is_file():
        return True
    words = ["eval", "--records", str(middle.world(TEST) / RECORDS), "--out", str(out)]
    words += ["--cache", str(middle.cache), "--base", middle.base, "--no-plot"]
    words += ["--batch", str(middle.batch_questions), "--seed", str(middle.seed)]
    words += ["--max-new-tokens", str(middle.max_new_tokens)]
    words += ["--arms.patch", str(settings.patch_folder)]
    return _run(words)


def _run(words: Sequence[str], cost: Path | None = None) -> bool:
    """Run a verb in a process of its own, and add its processor seconds to those in a file."""
    print(f"\n== pave {' '.join(words)}", flush=True)
    before = _seconds()
    done = subprocess.run([sys.executable, "-m", "pave", *words], env=_environment(), check=False)
    if cost is not None:
        spent = _seconds() - before
        if cost.is_file():  # an interrupted run went on
            spent += json.loads(cost.read_text("utf-8"))["cpu_seconds"]
        write_text_atomically(cost, json.dumps({"cpu_seconds": round(spent, 1)}))
    return done.returncode == 0


def _seconds() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _environment() -> dict[str, str]:
    """One thread: seconds of the processor then mean the same beside other work."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


if __name__ == "__main__":
    sys.exit(main())
