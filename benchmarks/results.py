"""What each sense is worth: base, LoRA-only and patch on every channel over several seeds, written into docs/results.md.

    python benchmarks/results.py                                   # all of it, about an hour and a half on two cores
    python benchmarks/results.py --senses views                    # one sense; the pages keep what they say of the others
    python benchmarks/results.py --write-only                      # the pages alone, from the runs that are done

A run is `pave demo --sense SENSE --seed SEED`: its own world, its own start, its own order of the
data. Seeds come before senses, so an interrupted call leaves the same number of seeds everywhere.
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

from pooled import Channel, pooled
from results_pages import write_pages

from pave_world.demo.config import DemoConfig
from pave_world.demo.run import finished_report
from pave_world.demo.presets import SENSES, SenseName

# Seed 0 is the world on which the settings were chosen. Those of `frames` were mended there once
# more after its worlds 1 to 3 had been seen, so it is measured on new ones.
SEEDS = {"sound": (1, 2, 3), "scene3d": (1, 2, 3), "views": (1, 2, 3), "frames": (4, 5, 6)}


def main() -> int:
    """Run what is missing, then write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--senses", nargs="+", choices=list(SENSES), default=list(SENSES))
    parser.add_argument(
        "--seeds", nargs="+", type=int, help="of all senses (default: three for each, see SEEDS)"
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/results"))
    parser.add_argument("--write-only", action="store_true", help="run nothing")
    args = parser.parse_args()
    wanted = [_config(args.out, sense, seed) for sense, seed in _runs(args.senses, args.seeds)]
    for config in wanted:
        if not args.write_only and finished_report(config) is None:
            command = [
                "pave",
                "demo",
                "--sense",
                config.sense,
                "--seed",
                str(config.seed),
                "--out",
                str(config.out),
            ]
            print(f"\n== {shlex.join(command)}", flush=True)
            if subprocess.run([sys.executable, "-m", *command]).returncode:
                return 1
    channels = [found for sense in SENSES if (found := _channel(sense, wanted)) is not None]
    if not channels:
        sys.exit("no run is finished; leave out --write-only")
    write_pages(channels)
    return 0


def _runs(senses: Sequence[SenseName], seeds: Sequence[int] | None) -> list[tuple[SenseName, int]]:
    """Every sense's first seed, then every sense's second, ..."""
    rounds = zip(*(seeds or SEEDS[sense] for sense in senses), strict=True)
    return [
        (sense, seed) for one_each in rounds for sense, seed in zip(senses, one_each, strict=True)
    ]


def _config(out: Path, sense: str, seed: int) -> DemoConfig:
    return DemoConfig.model_validate(
        {"sense": sense, "seed": seed, "out": out / sense / f"seed-{seed}"}
    ).resolved()


def _channel(sense: str, wanted: list[DemoConfig]) -> Channel | None:
    """The finished runs of one sense, pooled."""
    runs = [(config, finished_report(config)) for config in wanted if config.sense == sense]
    finished = [(config, report) for config, report in runs if report is not None]
    return pooled(finished) if finished else None


if __name__ == "__main__":
    sys.exit(main())
