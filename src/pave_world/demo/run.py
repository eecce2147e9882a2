"""`run_demo`: the stages in their order, what they cost, and the results.

An interrupted demo goes on where it stopped, with the seconds of its stages added up. A finished
one, or one with other settings, is made anew, so that the numbers always belong to one command.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.errors import ConfigError
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import PeakMemory, Stopwatch, processor
from pave.evaluate.report import Report, write_report
from pave.files import write_text_atomically
from pave.texts import counted, read_object
from pave.train import TrainConfig
from pave_world.demo.config import DemoConfig
from pave_world.demo.prepare import TEST, TRAIN, Progress, encode_clips, make_clips
from pave_world.demo.training import CONTROL, curves, train_both
from pave_world.scenes.scene import OLD_CHANNELS

Say = Callable[[str], None]
BASE = "base"
MADE = ("world", "store", "runs", "eval", "patch", "control")
_NOTE = "demo.json"


def run_demo(config: DemoConfig, say: Say, progress: Progress | None = None) -> Report:
    """Make the world, train, compare.

    Writes `results.json`, `report.md`, `plot.png` and `patch/` into `config.out`.

    Args:
        config: All numbers.
        say: Gets a line at the start of each stage and now and then in between.
        progress: Called with (what, done, total).

    Returns:
        The results, as written.

    Raises:
        PaveError: If a part is missing or a stage fails.

    Example:
        >>> report = run_demo(DemoConfig(steps=50, train_clips=100), print)  # doctest: +SKIP
        >>> report.arm("audio-patch").accuracy                               # doctest: +SKIP
        0.41
    """
    config = config.resolved()
    shown = progress or (lambda what, done, total: None)
    book = _Book(config)
    with PeakMemory() as memory:
        with book.stage("world", memory):
            say(
                f"making {counted(config.clips(TRAIN), 'clip')} to train on and "
                f"{config.test_clips} to compare on ..."
            )
            records = make_clips(config, shown)
        with book.stage("features", memory):
            say(f"encoding every clip once, {config.preset.does} ...")
            encode_clips(config, records, shown)
        with book.stage("training", memory):
            say(
                f"training the LoRA-only control and the {config.channel} patch for "
                f"{config.steps} steps each ..."
            )
            runs = train_both(config, records[TRAIN], shown, say)
        with book.stage("comparison", memory):
            say("asking the base, the control and the patch about the held-out clips ...")
            report = _compare(config, records[TEST], runs, shown)
    return _write(config, report, book, runs)


def finished_report(config: DemoConfig) -> Report | None:
    """The report of a demo that ran to its end with just these settings.

    None where there is none.
    """
    note, results = config.out / _NOTE, config.out / "results.json"
    if not (note.is_file() and results.is_file()):
        return None
    known = _read_note(note)
    if not known["finished"] or known["settings"] != config.resolved().model_dump(mode="json"):
        return None
    report = Report.model_validate_json(results.read_text(encoding="utf-8"))
    return _in_present_words(report)


def _read_note(file: Path) -> dict[str, Any]:
    """What the demo wrote down of itself.

    Raises:
        ConfigError: If something else is in there.
    """
    advice = "choose another out folder, or delete this one"
    known = read_object(file, ConfigError, advice)
    if missing := {"settings", "seconds", "peak_rss_mb", "finished"} - known.keys():
        raise ConfigError(f"{file} is damaged (it lacks {', '.join(sorted(missing))}); {advice}")
    return known | {"settings": _present_settings(known["settings"])}


def _present_settings(settings: Any) -> Any:
    """Settings of an earlier run as they would be written today.

    Unreadable ones are like no others.
    """
    try:
        return DemoConfig.model_validate(settings).model_dump(mode="json")
    except ValidationError:
        return settings


def _in_present_words(report: Report) -> Report:
    """The report of an older demo, whose patch was named after the old word for its channel."""
    text = report.model_dump_json()
    for old, new in OLD_CHANNELS.items():
        text = text.replace(f'"{old}-patch"', f'"{new}-patch"')
    return Report.model_validate_json(text)


class _Book:
    """What the stages have cost so far, kept on disk across interruptions."""

    def __init__(self, config: DemoConfig) -> None:
        self.file = config.out / _NOTE
        self.settings = config.model_dump(mode="json")
        known = _read_note(self.file) if self.file.is_file() else None
        if known is not None and (known["finished"] or known["settings"] != self.settings):
            for name in MADE:
                shutil.rmtree(config.out / name, ignore_errors=True)
            known = None
        self.watch = Stopwatch()
        self.watch.seconds |= known["seconds"] if known else {}
        self.peak = float(known["peak_rss_mb"]) if known else 0.0
        self.save(finished=False)

    @contextmanager
    def stage(self, name: str, memory: PeakMemory) -> Iterator[None]:
        """Time a stage, and write it down also when it is interrupted."""
        try:
            with self.watch.stage(name):
                yield
        finally:
            self.peak = max(self.peak, memory.megabytes)
            self.save(finished=False)

    def save(self, *, finished: bool) -> None:
        """Write the note."""
        note = {
            "settings": self.settings,
            "seconds": self.watch.seconds,
            "peak_rss_mb": self.peak,
            "finished": finished,
        }
        write_text_atomically(self.file, json.dumps(note, indent=2))


def _compare(
    config: DemoConfig, records: Path, runs: dict[str, TrainConfig], progress: Progress
) -> Report:
    """Ask every arm, and save patch and control once more with all scores on their cards."""
    from pave.bases import load_base
    from pave.evaluate.run import evaluate
    from pave.model import PatchedModel

    base = load_base(config.base, device="auto")
    settings = EvalConfig(
        records=records,
        out=config.out / "eval",
        base=config.base,
        arms={BASE: None, **{name: [run.patch_folder] for name, run in runs.items()}},
        cache=config.cache,
        batch=config.batch_questions,
        max_new_tokens=config.max_new_tokens,
        seed=config.seed,
        plot=False,
    )
    report = evaluate(settings, base, progress)
    scores = [row.model_dump(mode="json") for row in report.arms]
    for place, arm in (("patch", config.patch_arm), ("control", CONTROL)):
        model = PatchedModel(base)
        name = model.load_patch(runs[arm].patch_folder, name=arm)
        facts = model.patches[name].config.training | {"command": _command()}
        model.save_patch(
            config.out / place, name=name, training=facts, scores=scores, dtype=config.patch_dtype
        )
        model.unpatch()
    return report


def _command() -> str:
    """What was typed, for the report and the cards."""
    return shlex.join(["pave", *sys.argv[1:]])


def _write(config: DemoConfig, report: Report, book: _Book, runs: dict[str, TrainConfig]) -> Report:
    """The demo's own results: those of the comparison, with the cost of everything."""
    from pave.evaluate.plot import draw

    whole = report.model_copy(
        update={
            "seconds": book.watch.seconds,
            "peak_rss_mb": max(book.peak, report.peak_rss_mb),
            "seeds": {"world": config.seed, "training": config.seed, "bootstrap": config.seed},
            "versions": {"processor": processor(), **report.versions},
            "command": _command(),
            "settings": config.model_dump(mode="json"),
        }
    )
    write_report(
        whole, config.out, title=f"What a {config.channel} patch is worth", images=["plot.png"]
    )
    draw(whole, config.out / "plot.png", curves(runs))
    book.save(finished=True)
    return whole


__all__ = ["BASE", "CONTROL", "finished_report", "run_demo"]
