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
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import runs
from budget_page import write_page
from budget_points import AXES, CHANNELS, Point, points

from pave.train import TrainConfig
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
    runs.claim(middle.out, "budget.json", middle.model_dump_json(indent=2))
    files = runs.make_clips(middle)
    for name, settings in runs_of(middle, point).items():
        if not runs.is_trained(settings):
            # Before the training, whose processor seconds are the point's cost.
            one = point.config(middle).model_copy(update={"workers": 1})
            encode_clips(one, files, lambda *_: None)
        if not (runs.train(settings) and _asked(name, settings, middle)):
            return False
    return True


def runs_of(middle: DemoConfig, point: Point) -> dict[str, TrainConfig]:
    """Name -> settings of the control and the patch of a point."""
    config = point.config(middle)
    both = run_configs(config, config.world(TRAIN) / RECORDS)
    found = {}
    for name, arm in ((point.control, CONTROL), (point.name, config.patch_arm)):
        found[name] = both[arm].model_copy(update={"out": middle.out / "runs" / name})
    return found


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
    return runs.run(words)


if __name__ == "__main__":
    sys.exit(main())
