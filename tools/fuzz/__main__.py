"""Damaged inputs of every kind, each read in a process of its own, until the time is over.

    python tools/fuzz                                # make fuzz: an hour; goes on where it stopped
    python tools/fuzz --seconds 600 --only media     # groups or cases whose name begins so
    python tools/fuzz --rounds 2                     # two inputs of each case
    python tools/fuzz --again media/video-mp4:17     # one input again, with its traceback

Groups: media, features, patch, records, annotations, run. An input is a case and a number, which
decide the damage. `outputs/fuzz/state.json` says how many numbers of each case are done, so that a
later call goes on with the next ones; delete the folder to begin anew. What is neither read nor
refused with an error of pave's own is a finding: `outputs/fuzz/findings/` keeps the damaged files
of the first ones of each signature beside what happened. The exit code is 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import math
import os
import pkgutil
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
# Before torch is loaded: idle threads would be missing in every fork.
os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import data_cases  # noqa: E402
import media_cases  # noqa: E402
import run_cases  # noqa: E402
import torch  # noqa: E402
from case import Case  # noqa: E402
from child import GOOD, Verdict, run, warn_if_threaded  # noqa: E402
from damage import damage, is_plain, rehash  # noqa: E402

import pave  # noqa: E402

BUILD_SECONDS = 300  # of CPU time, to make a sound input: a training among them
KEPT = 3  # findings of one signature
LARGEST = 2 << 20  # bytes of a finding that is kept
CASES = {case.name: case for case in [*media_cases.CASES, *data_cases.CASES, *run_cases.CASES]}


class State:
    """What was tried and what came of it, kept in a file.

    Args:
        file: The file; what it says is gone on with.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.done: dict[str, int] = {}
        self.verdicts: dict[str, dict[str, int]] = {}
        if file.is_file():
            known = json.loads(file.read_text())
            self.done, self.verdicts = known["done"], known["verdicts"]

    def add(self, name: str, number: int, kind: str) -> None:
        """Count an input."""
        self.done[name] = number + 1
        counts = self.verdicts.setdefault(name, {})
        counts[kind] = counts.get(kind, 0) + 1

    def save(self) -> None:
        """Write it; a kill leaves the old file or the new one."""
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps({"done": self.done, "verdicts": self.verdicts}, indent=1))
        beside.replace(self.file)


def load_all() -> None:
    """Load every module of pave here, once, rather than in every fork that needs it."""
    for module in pkgutil.walk_packages(pave.__path__, "pave."):
        if not module.name.endswith("__main__"):
            # Some are for programs that are not installed here.
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def build(cases: list[Case], folder: Path) -> None:
    """Make the sound inputs anew, in a process that ends: FFmpeg's threads must not be forked."""
    shutil.rmtree(folder, ignore_errors=True)
    for case in cases:
        place = folder / case.name
        place.mkdir(parents=True)
        work = partial(case.build, place)
        made = run(work, folder / "build.log", BUILD_SECONDS)
        if made.kind != "ok":
            sys.exit(f"cannot make {case.name}: {made.kind} {made.text}\n{made.trace}")


def attempt(case: Case, number: int, corpus: Path, scratch: Path) -> tuple[Verdict, str]:
    """Damage a copy of a sound input and read it."""
    chance = random.Random(f"{case.name}:{number}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(corpus / case.name, scratch, symlinks=True)
    what = "nothing"
    if number > 0:  # number 0 is the sound input itself
        what = damage(scratch, case.files(scratch), chance)
        if case.sealed and chance.random() < 0.5:
            rehash(scratch / "patch")
            what += ", hashes made right"
    return run(lambda: case.read(scratch), scratch.with_suffix(".log")), what


def keep(folder: Path, name: str, verdict: Verdict, what: str, scratch: Path) -> None:
    """Keep a finding: what happened, and the files if they are small."""
    signature = re.sub(r"\W+", "-", verdict.signature)
    place = folder / signature / re.sub(r"\W+", "-", name)
    if place.exists() or (place.parent.exists() and len(list(place.parent.iterdir())) >= KEPT):
        return
    place.mkdir(parents=True)
    about = {"input": name, "damage": what, **asdict(verdict)}
    (place / "finding.json").write_text(json.dumps(about, indent=1))
    paths = list(filter(is_plain, scratch.rglob("*")))
    if sum(path.stat().st_size for path in paths) <= LARGEST:
        # Pipes and links to devices cannot be copied; the damage above names them.
        for path in paths:
            target = place / "input" / path.relative_to(scratch)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


def fuzz(cases: list[Case], out: Path, seconds: float, rounds: float = math.inf) -> Counter[str]:
    """Try inputs, one of each case in turn, until the time is over or there were so many rounds."""
    out.mkdir(parents=True, exist_ok=True)
    state, found = State(out / "state.json"), Counter[str]()
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        scratch = Path(place) / "input"
        while time.monotonic() < until and rounds > 0:
            rounds -= 1
            for case in cases:
                if time.monotonic() >= until:
                    break
                number = state.done.get(case.name, 0)
                verdict, what = attempt(case, number, out / "corpus", scratch)
                state.add(case.name, number, verdict.kind)
                if verdict.kind not in GOOD or (number == 0 and verdict.kind != "ok"):
                    found[verdict.signature] += 1
                    name = f"{case.name}:{number}"
                    keep(out / "findings", name, verdict, what, scratch)
                    print(f"{name} {verdict.signature}: {verdict.text[:100]!r}", flush=True)
            state.save()
    return found


def table(state: State) -> str:
    """Inputs by case and verdict."""
    kinds = ("ok", "typed", "untyped", "hang", "memory", "signal")
    lines = [f"{'case':28}" + "".join(f"{kind:>9}" for kind in kinds)]
    total = Counter[str]()
    for name in sorted(state.verdicts):
        counts = state.verdicts[name]
        total.update(counts)
        lines.append(f"{name:28}" + "".join(f"{counts.get(kind, 0):9}" for kind in kinds))
    lines.append(f"{'all':28}" + "".join(f"{total[kind]:9}" for kind in kinds))
    return "\n".join(lines)


def again(name: str, out: Path) -> int:
    """One input once more, with all that is known of it."""
    case_name, _, number = name.rpartition(":")
    case = CASES[case_name]
    case.ready()
    build([case], out / "corpus")
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        verdict, what = attempt(case, int(number), out / "corpus", Path(place) / "input")
    print(f"{what}\n{verdict.trace}{verdict.signature}: {verdict.text} {verdict.cpu} s")
    return int(verdict.kind not in GOOD)


def main() -> int:
    """Parse the words and run."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=3600, help="stop after so long")
    parser.add_argument("--rounds", type=int, help="inputs of each case, in the place of seconds")
    parser.add_argument("--only", nargs="+", default=[""], help="groups or cases, by beginning")
    parser.add_argument("--again", metavar="CASE:NUMBER", help="one input once more")
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "fuzz")
    args = parser.parse_args()
    torch.set_num_threads(1)
    load_all()
    if args.again:
        return again(args.again, args.out)
    cases = [case for name, case in CASES.items() if name.startswith(tuple(args.only))]
    if not cases:
        parser.error(f"no such case; there are: {', '.join(CASES)}")
    for case in cases:
        case.ready()
    warn_if_threaded()
    build(cases, args.out / "corpus")
    limits = (args.seconds, math.inf)
    if args.rounds is not None:
        limits = (math.inf, args.rounds)
    found = fuzz(cases, args.out, *limits)
    print(table(State(args.out / "state.json")))
    for signature, count in found.most_common():
        print(f"{count:6} {signature}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
