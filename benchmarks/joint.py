"""Can one patch for four senses do what four patches do? Sound, depth, other cameras, fast frames.

    python benchmarks/joint.py                     # all of it, half an hour a seed on one core
    python benchmarks/joint.py --seeds 1           # one world; the page keeps the others
    python benchmarks/joint.py --write-only        # the page alone

A joint patch is trained for as many steps as the four single ones together, on the same records.
All arms are asked about held-out clips with their own channel alone, and with the other channels of
the same clip present. What every arm answered is kept in `benchmarks/measured/joint`: the page is
made of that, and a run that is finished there is not trained again. Seed 0 is the world on which
settings are chosen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from answers import Answers, answers_file, check_settings, read_answers, write_answers
from asking import add_said, ask, base_of
from joint_arms import ARMS, Arm, Worlds, folder_of, patch_of, run_of
from joint_clips import IN_COMPANY, cache_of, encode, make_clips
from joint_page import ALONE, COMPANY, MEASUREMENT, write_page
from runs import parser_of, train, training_of

from pave.model.combine import combine_patches
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN
from pave_world.demo.presets import PRESETS
from pave_world.films.make import RECORDS

SEEDS = (0, 1, 2, 3)
_FILES = {ALONE: RECORDS, COMPANY: IN_COMPANY}


def main() -> int:
    """Run what is missing, then write the page."""
    parser = parser_of(__doc__, SEEDS, "outputs/joint")
    parser.add_argument("--steps", type=int, default=100, help="of a single patch")
    parser.add_argument("--train-clips", type=int, default=120, help="of each sense")
    parser.add_argument("--test-clips", type=int, default=50, help="of each sense")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for seed in () if args.write_only else args.seeds:
        worlds = worlds_of(seed, args.out, args.steps, args.train_clips, args.test_clips)
        for arm in ARMS:
            if args.arms and arm.title not in args.arms:
                continue
            if not run_arm(worlds, arm):
                return 1
            write_page()
    write_page()
    return 0


def worlds_of(seed: int, out: Path, steps: int, train_clips: int, test_clips: int) -> Worlds:
    """The worlds of a seed; what differs between senses is their encoder."""
    worlds = {}
    for sense in PRESETS:
        settings = {
            "channel": sense,
            "seed": seed,
            "steps": steps,
            "train_clips": train_clips,
            "test_clips": test_clips,
            "batch_clips": 2,
            "align_share": 0.7,
            "workers": 1,
            "out": out / f"seed-{seed}" / sense,
        }
        world = DemoConfig.model_validate(settings).resolved()
        # Scale 1, as in `make conflict`.
        lora = world.lora.model_copy(update={"alpha": world.lora.rank})
        # All senses alike: nothing is asked more often.
        worlds[sense] = world.model_copy(update={"lora": lora, "focus_families": ()})
    return worlds


def run_arm(worlds: Worlds, arm: Arm) -> bool:
    """Train or combine an arm and ask it, as far as its answers are not kept yet."""
    missing = [sense for sense in worlds if any(_missing(worlds, arm, sense))]
    if not missing:
        return True
    make_clips(worlds, [TRAIN, TEST] if arm.company else [TEST])
    _encode_once(worlds, arm.company)
    for sense in missing:
        if arm.kind == "combined":
            _combine(worlds, arm)
        elif not train(run_of(arm, worlds, sense)):
            return False
        for condition in _missing(worlds, arm, sense):
            _ask(worlds, arm, sense, condition)
    return True


def _missing(worlds: Worlds, arm: Arm, sense: str) -> list[str]:
    """With which channels an arm has still to be asked."""
    wanted = [ALONE] * arm.is_alone + [COMPANY] * arm.has_others
    kept = _kept(worlds, sense)
    return [condition for condition in wanted if not kept.column(f"{arm.name}/{condition}")]


def _kept(worlds: Worlds, sense: str) -> Answers:
    """The answers about the clips of a sense.

    Raises:
        SystemExit: If they are of other settings.
    """
    kept = read_answers(_file(worlds, sense))
    if kept.rows:
        wanted = settings_of(worlds, sense)
        check_settings(_file(worlds, sense), kept.about["settings"], wanted)
    return kept


def _file(worlds: Worlds, sense: str) -> Path:
    return answers_file(MEASUREMENT, worlds[sense].seed, sense)


def settings_of(worlds: Worlds, sense: str) -> dict[str, Any]:
    """What makes answers what they are; written beside them."""
    world = worlds[sense]
    names = {"seed", "steps", "train_clips", "test_clips", "batch_clips", "align_share"}
    names |= {"align_steps", "lora", "fusion", "encoder", "encoder_settings"}
    return world.model_dump(mode="json", include=names)


def _combine(worlds: Worlds, arm: Arm) -> None:
    """Make one patch of the singles, unless that is done."""
    out = patch_of(arm, worlds, "")
    if (out / "patch.json").is_file():
        return
    single = next(each for each in ARMS if each.kind == "single")
    folders = [patch_of(single, worlds, sense) for sense in worlds]
    combine_patches(folders, out, base_of(next(iter(worlds.values())).base), arm.how)


def _ask(worlds: Worlds, arm: Arm, sense: str, condition: str) -> None:
    """Ask an arm about the held-out clips of a sense, and keep what it said."""
    world = worlds[sense]
    out = folder_of(worlds) / "eval" / f"{arm.name}-{sense}-{condition}"
    records = world.world(TEST) / _FILES[condition]
    ask(world, patch_of(arm, worlds, sense), records, cache_of(worlds), out)
    kept = _kept(worlds, sense)
    kept.about["settings"] = settings_of(worlds, sense)
    add_said(kept, f"{arm.name}/{condition}", records, out)
    trainings = kept.about.setdefault("trainings", {})
    if arm.kind != "combined":
        trainings[arm.name] = training_of(run_of(arm, worlds, sense))
    write_answers(_file(worlds, sense), kept)


def _encode_once(worlds: Worlds, company: bool) -> None:
    """Before any training, whose processor seconds are written down."""
    done = folder_of(worlds) / f"encoded-{company}"
    if done.is_file():
        return
    print(f"\n== encoding {folder_of(worlds)}", flush=True)
    encode(worlds, base_of(next(iter(worlds.values())).base))
    done.touch()


if __name__ == "__main__":
    sys.exit(main())
