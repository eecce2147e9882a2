"""Many clips, few questions: what does each aligned start bring?

    python benchmarks/few_records.py                  # all of it, an hour and a half on one core
    python benchmarks/few_records.py --seeds 1        # one world; the page keeps the others
    python benchmarks/few_records.py --write-only     # the page alone

A tenth of the clips of a world has its questions, and every arm trains on those for the same number
of steps. One arm may look at the other clips beforehand, without their questions: its aligned start
learns how visual tokens are distributed (`align_clips`). What every arm answered about held-out
clips is kept in `benchmarks/measured/few-records`, and the page is made of that. No setting was
tuned; one that will be is to be chosen on the world of seed 0, which the page leaves out.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from answers import Answers, answers_file, check_settings, read_answers, write_answers
from asking import add_said, ask
from few_records_arms import ARMS, Arm
from few_records_page import MEASUREMENT, write_page
from runs import make_clips, parser_of, train, training_of

from pave.data import group_by_clip, read_records, write_records
from pave.train import TrainConfig
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN, encode_clips
from pave_world.films.make import RECORDS

SEEDS = (1, 2, 3)
CHANNEL = "audio"
FEW = "few.jsonl"
ONE_IN = 10


def main() -> int:
    """Run what is missing, then write the page."""
    parser = parser_of(__doc__, SEEDS, "outputs/few-records")
    parser.add_argument("--steps", type=int, default=80, help="of each training")
    parser.add_argument("--train-clips", type=int, default=240, help="with and without questions")
    parser.add_argument("--test-clips", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if args.write_only else args.seeds:
        world = world_of(seed, args.out, args.steps, args.train_clips, args.test_clips)
        for arm in ARMS:
            if args.arms and arm.name not in args.arms:
                continue
            if not run_arm(world, arm):
                return 1
    write_page()
    return 0


def world_of(seed: int, out: Path, steps: int, train_clips: int, test_clips: int) -> DemoConfig:
    """The settings that all arms of a seed share."""
    settings = {
        "channel": CHANNEL,
        "seed": seed,
        "steps": steps,
        "train_clips": train_clips,
        "test_clips": test_clips,
        "workers": 1,
        "out": out / f"seed-{seed}",
    }
    world = DemoConfig.model_validate(settings).resolved()
    # Scale 1, as in `make conflict` and `make joint`.
    lora = world.lora.model_copy(update={"alpha": world.lora.rank})
    return world.model_copy(update={"lora": lora})


def run_arm(world: DemoConfig, arm: Arm) -> bool:
    """Train an arm and ask it, unless its answers are kept."""
    if _kept(world).column(arm.name):
        return True
    few = make_files(world)
    settings = arm.settings(world, few)
    if not train(settings):
        return False
    _ask(world, arm, settings)
    return True


def make_files(world: DemoConfig) -> Path:
    """Make the clips, encode them, and write the few records; nothing is made twice."""
    few = world.world(TRAIN) / FEW
    if few.is_file():
        return few
    files = make_clips(world, version=2, held_out_pairs=True)
    # Before any training, whose processor seconds are written down.
    encode_clips(world, files, lambda *_: None)
    groups = group_by_clip(read_records(files[TRAIN]))
    kept = []
    for group in groups[: len(groups) // ONE_IN]:
        kept += group
    write_records(few, kept)
    return few


def _ask(world: DemoConfig, arm: Arm, settings: TrainConfig) -> None:
    """Ask an arm about the held-out clips, and keep what it said."""
    out = world.out / "eval" / arm.name
    records = world.world(TEST) / RECORDS
    ask(world, settings.patch_folder, records, world.cache, out)
    kept = _kept(world)
    kept.about["settings"] = settings_of(world)
    kept.about.setdefault("trainings", {})[arm.name] = training_of(settings)
    add_said(kept, arm.name, records, out)
    write_answers(_file(world), kept)


def _kept(world: DemoConfig) -> Answers:
    """The answers about the held-out clips of a world.

    Raises:
        SystemExit: If they are of other settings.
    """
    kept = read_answers(_file(world))
    if kept.rows:
        check_settings(_file(world), kept.about["settings"], settings_of(world))
    return kept


def _file(world: DemoConfig) -> Path:
    return answers_file(MEASUREMENT, world.seed, world.channel)


def settings_of(world: DemoConfig) -> dict[str, Any]:
    """What makes answers what they are; written beside them."""
    names = {"seed", "steps", "train_clips", "test_clips", "batch_clips", "lora", "fusion"}
    names |= {"encoder", "encoder_settings", "questions_per_clip"}
    return world.model_dump(mode="json", include=names)


if __name__ == "__main__":
    sys.exit(main())
