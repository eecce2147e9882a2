"""Does a patch follow the sound where the picture disagrees, and what teaches it to?

    python benchmarks/conflict.py                          # all of it, 2 hours on one core
    python benchmarks/conflict.py --seeds 1 --arms plain   # a part of it
    python benchmarks/conflict.py --write-only             # the page alone, from what is finished

The settings are chosen on the world of seed 0 (`TRIED`, `RESIDUALS`, `GATE`), and measured on those
of seeds 1, 2 and 3 (`ARMS`, `GATE`). Clips are of version 2 of the world; held-out ones come in
pairs. Arms are asked the questions as they are, and with exchanged sounds (`pave eval --swap
audio`). What every arm answered is kept in `benchmarks/measured/conflict`: the page is made of
that, and an arm that is finished there is not trained again.
"""

from __future__ import annotations

import sys

from asking import base_of
from conflict_answers import control_of, is_kept, keep
from conflict_arms import ARMS, GATE, RESIDUALS, TRIED, Arm
from conflict_page import CHOSEN_ON, SEEDS, write_page
from runs import claim, is_trained, make_clips, parser_of, train

from pave.evaluate import EvalConfig, evaluate
from pave.evaluate.swap import evaluate_swap
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, encode_clips
from pave_world.films.make import RECORDS


def main() -> int:
    """Run what is missing, then write the page."""
    parser = parser_of(__doc__, [CHOSEN_ON, *SEEDS], "outputs/conflict")
    parser.add_argument("--steps", type=int, default=160, help="of each training")
    parser.add_argument("--train-clips", type=int, default=240)
    parser.add_argument("--test-clips", type=int, default=80)
    args = parser.parse_args()
    worlds = {}
    for seed in (CHOSEN_ON, *SEEDS):
        settings = {
            "seed": seed,
            "steps": args.steps,
            "train_clips": args.train_clips,
            "test_clips": args.test_clips,
            "workers": 1,
            "out": args.out / f"seed-{seed}",
        }
        worlds[seed] = DemoConfig.model_validate(settings).resolved()
    if not args.write_only:
        for seed in args.seeds:
            for arm in (*TRIED, *RESIDUALS, GATE) if seed == CHOSEN_ON else (*ARMS, GATE):
                if args.arms and arm.title not in args.arms:
                    continue
                if not run_arm(worlds[seed], arm):
                    return 1
    write_page()
    return 0


def run_arm(world: DemoConfig, arm: Arm) -> bool:
    """Train an arm and ask it, as far as its answers are not kept yet."""
    as_it_is = arm not in TRIED
    controlled = world.seed != CHOSEN_ON
    exchanged = arm.hears and arm not in RESIDUALS  # without ears an exchange changes nothing
    if is_kept(world, arm, as_it_is=as_it_is, controlled=controlled, exchanged=exchanged):
        return True
    claim(world.out, "conflict.json", world.model_dump_json(indent=2))
    settings = arm.settings(world)
    files = make_clips(world, version=2, held_out_pairs=True)
    if not is_trained(settings):
        # Before the training, whose processor seconds are written down.
        encode_clips(world, files, lambda *_: None)
    if not train(settings):
        return False
    patch = str(settings.patch_folder)
    if as_it_is:
        ask(world, arm.name, patch, swap=None)
    if controlled:
        ask(world, control_of(arm), f"{arm.control}:{patch}", swap=None)
    if exchanged:
        ask(world, arm.name, patch, swap=world.channel)
    keep(world, arm)
    return True


def ask(world: DemoConfig, name: str, arm: str, *, swap: str | None) -> None:
    """Ask one arm about the held-out clips, unless that is done."""
    out = world.out / ("swap" if swap else "eval") / name
    if (out / ("swap.json" if swap else "results.json")).is_file():
        return
    print(f"\n== asking {out}", flush=True)
    config = EvalConfig(
        records=world.world(TEST) / RECORDS,
        out=out,
        base=world.base,
        arms={"arm": arm},
        cache=world.cache,
        swap=swap,
        batch=world.batch_questions,
        max_new_tokens=world.max_new_tokens,
        seed=world.seed,
        resamples=100,  # the tables have intervals of their own, over all worlds
        plot=False,
    )
    (evaluate_swap if swap else evaluate)(config, base_of(world.base))


if __name__ == "__main__":
    sys.exit(main())
