"""What each channel is worth, over several seeds: base, LoRA-only and patch; docs/results.md.

    python benchmarks/results.py                    # all of it, hours on two cores
    python benchmarks/results.py --channels views   # one channel; the pages keep the others
    python benchmarks/results.py --write-only       # the pages alone, from the answers kept

A run is `pave demo --channel CHANNEL --seed SEED`: its own world, start and order of the data. Its
control arms (blind, shuffled, token probes) are asked after it by `pave eval`. Seeds come before
channels, so an interrupted call leaves the same number of seeds everywhere.

What every arm answered is kept in `benchmarks/measured/results` as soon as it is asked: a run that
is kept there is not trained again, and runs of several machines may be put side by side. Nobody
types a number: the tables, the plots and the README's summary are made from these answers, all
seeds pooled. A channel of which a seed is missing stays on the pages as it is; `--seeds` writes it
from the seeds that it names.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from controls import are_asked, command_of
from pooled import pooled
from results_answers import keep, missing, read_kept, refuse_other_settings
from results_pages import write_pages

from pave_world.demo.config import DemoConfig
from pave_world.demo.presets import PRESETS
from pave_world.demo.run import finished_report

# Seed 0 is the world on which the settings were chosen. Those of `frames` were mended there twice
# more after worlds 1 to 6 had been seen, so it is measured on new ones.
SEEDS = {"audio": (1, 2, 3), "scene3d": (1, 2, 3), "views": (1, 2, 3), "frames": (7, 8, 9)}


def main() -> int:
    """Run what is missing, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--channels", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="of all channels (default: three for each, see SEEDS)"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/results"))
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    args = parser.parse_args()
    wanted = [
        _config(args.out, channel, seed) for channel, seed in _runs(args.channels, args.seeds)
    ]
    if args.write_only:
        for config in wanted:
            keep_finished(config)
    else:
        for config in wanted:  # all of them before the hours of the first
            refuse_other_settings(config)
        for config in wanted:
            if not run(config):
                return 1
    channels = []
    for channel in PRESETS:
        runs = [config for config in wanted if config.channel == channel]
        if runs and _is_whole(channel, runs):
            channels.append(pooled([read_kept(config) for config in runs]))
    if not channels:
        sys.exit("no channel is whole; leave out --write-only, or name the seeds with --seeds")
    write_pages(channels)
    return 0


def run(config: DemoConfig) -> bool:
    """Train a run and ask its arms, as far as their answers are not kept yet."""
    if not missing(config):
        return True
    if finished_report(config) is None:
        words = ["demo", "--channel", config.channel, "--seed", str(config.seed)]
        if not _call([*words, "--out", str(config.out)]):
            return False
    report = finished_report(config)
    if report is None:
        return False
    keep(config, report)
    if not are_asked(config):
        if not _call(command_of(config)):
            return False
        keep(config, report)
    return True


def keep_finished(config: DemoConfig) -> None:
    """Keep the answers of a run that ended before they were kept."""
    report = finished_report(config)
    if report is not None and are_asked(config) and missing(config):
        keep(config, report)


def _call(words: Sequence[str]) -> bool:
    command = ["pave", *words]
    print(f"\n== {shlex.join(command)}", flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode == 0


def _is_whole(channel: str, runs: Sequence[DemoConfig]) -> bool:
    """Whether all runs of a channel are kept; what is missing is said in a line."""
    reasons = [f"seed {config.seed} {why}" for config in runs if (why := missing(config))]
    if reasons:
        print(f"{channel} stays on the pages as it is: {', '.join(reasons)}")
    return not reasons


def _runs(channels: Sequence[str], seeds: Sequence[int] | None) -> list[tuple[str, int]]:
    """Every channel's first seed, then every channel's second, ..."""
    rounds = zip(*(seeds or SEEDS[channel] for channel in channels), strict=True)
    return [
        (channel, seed)
        for one_each in rounds
        for channel, seed in zip(channels, one_each, strict=True)
    ]


def _config(out: Path, channel: str, seed: int) -> DemoConfig:
    return DemoConfig.model_validate(
        {"channel": channel, "seed": seed, "out": out / channel / f"seed-{seed}"}
    ).resolved()


if __name__ == "__main__":
    sys.exit(main())
