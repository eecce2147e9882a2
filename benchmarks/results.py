"""What each channel is worth, over several seeds: base, LoRA-only and patch; docs/results.md.

    python benchmarks/results.py                    # all of it, an hour and a half on two cores
    python benchmarks/results.py --channels views   # one channel; the pages keep the others
    python benchmarks/results.py --write-only       # the pages alone, from the runs that are done

A run is `pave demo --channel CHANNEL --seed SEED`: its own world, start and order of the data. Its
control arms (blind, shuffled, token probes) are asked after it by `pave eval`.
 Seeds come before channels, so an interrupted call leaves the same number of seeds everywhere.
Nobody types a number: the tables, the plots and the README's summary are made from the answers of
the runs, all seeds pooled.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from controls import are_asked, command_of
from pooled import Channel, pooled
from results_pages import write_pages

from pave_world.demo.config import DemoConfig
from pave_world.demo.presets import PRESETS
from pave_world.demo.run import finished_report

# Seed 0 is the world on which the settings were chosen. Those of `frames` were mended there once
# more after its worlds 1 to 3 had been seen, so it is measured on new ones.
SEEDS = {"audio": (1, 2, 3), "scene3d": (1, 2, 3), "views": (1, 2, 3), "frames": (4, 5, 6)}


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
    for config in wanted:
        if not args.write_only and finished_report(config) is None:
            command = [
                "pave",
                "demo",
                "--channel",
                config.channel,
                "--seed",
                str(config.seed),
                "--out",
                str(config.out),
            ]
            print(f"\n== {shlex.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command]).returncode:
                return 1
        if not args.write_only and not are_asked(config):
            command = ["pave", *command_of(config)]
            print(f"\n== {shlex.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command]).returncode:
                return 1
    channels = [found for channel in PRESETS if (found := _channel(channel, wanted)) is not None]
    if not channels:
        sys.exit("no run is finished; leave out --write-only")
    write_pages(channels)
    return 0


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


def _channel(channel: str, wanted: list[DemoConfig]) -> Channel | None:
    """The finished runs of one channel, pooled."""
    runs = [(config, finished_report(config)) for config in wanted if config.channel == channel]
    finished = [(config, report) for config, report in runs if report is not None]
    return pooled(finished) if finished else None


if __name__ == "__main__":
    sys.exit(main())
