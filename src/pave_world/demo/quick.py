"""`run_quick`: what a patch is worth, in minutes.

A patch and its control that are shipped answer at once. A training from scratch then gets the time
that is left, as many steps as this machine, measured a moment before, does in it; the report says
how much it learnt. The whole demo (`pave_world.demo.run`) trains as long as it takes.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from pave.errors import ConfigError
from pave.evaluate.config import EvalConfig
from pave.evaluate.machine import PeakMemory, processor
from pave.patches import LoraSpec
from pave.texts import counted
from pave.train.config import MAX_SEED
from pave.train.precision import Precision, settled_precision
from pave_world.assets import concert
from pave_world.demo.config import DemoConfig
from pave_world.demo.here import make_encoded, train_here
from pave_world.demo.pace import Pace, train_clips
from pave_world.demo.prepare import TEST, TRAIN, Progress
from pave_world.demo.quick_report import Quick, write_quick, write_results
from pave_world.demo.training import CONTROL, curves, run_configs

if TYPE_CHECKING:
    from pave.bases import Base
    from pave.evaluate.report import Report

Say = Callable[[str], None]
BASE, PATCH = "base", "patch"
QUESTION = "What do you hear?"
_MADE = ("world", "store", "runs", "eval", "eval-new", "patch", "demo.json")
_FEWEST = 20  # steps; fewer show the warm-up of the rates alone
_FEWEST_CLIPS = 12  # held-out; fewer tell nothing about how another clip would differ
_ARMS = 4  # base, control, patch, and the new patch
_AFTER = 8.0  # seconds for the report and what cannot be foreseen


class QuickConfig(BaseModel):
    """What the short demo asks, and how long it may take.

    Example:
        >>> QuickConfig().patch
        'sound-demo'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path = Field(Path("outputs/demo"), description="Folder of everything that the demo makes.")
    seconds: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Wall seconds that the demo may take; by default 280, or 165 with bf16 units.",
    )
    seed: int = Field(
        1,
        ge=0,
        le=MAX_SEED,
        description="Seed of the clips, the training and the bootstrap. The shipped patch was "
        "trained on the clips of another.",
    )
    test_clips: int = Field(30, ge=2, description="Number of held-out clips to ask about.")
    train_clips: int = Field(
        120, ge=1, description="Number of clips that the new patch is trained on."
    )
    most_steps: int = Field(
        340, ge=1, description="Steps of the training, if there is time for them."
    )
    precision: Precision = Field("auto", description="Precision of the training.")
    base: str = Field("smol", description="The base of the shipped patch.")
    patch: str = Field("sound-demo", description="The shipped patch.")
    control: str = Field(
        "sound-demo-control",
        description="The control of the shipped patch, a LoRA without the sound.",
    )

    def training(self, steps: int = 1) -> DemoConfig:
        """The training from scratch: a patch of the shipped one's sizes, in fewer steps."""
        whole = DemoConfig(base=self.base, out=self.out, seed=self.seed)
        fields = {
            "train_clips": self.train_clips,
            "test_clips": self.test_clips,
            "lora": LoraSpec(rank=8, alpha=16, dropout=0.0, targets=whole.lora.targets),
            "fusion": {"hidden": 128},
            "steps": steps,
            "align_steps": 200,
            "precision": settled_precision(self.precision),
            "threads": whole.workers,  # it trains alone
        }
        return whole.model_copy(update=fields).resolved()


def run_quick(config: QuickConfig, say: Say, progress: Progress | None = None) -> Quick:
    """Ask the shipped patch, train one in small, and write pages and data of both.

    They are `report.html`, `report.md` and `results.json` in `config.out`.

    Args:
        config: All numbers.
        say: Gets a line at the start of each stage.
        progress: Called with (what, done, total).

    Returns:
        All that was found.

    Raises:
        PaveError: If a part is missing or a stage fails.

    Example:
        >>> run_quick(QuickConfig(), print).lines()[0]  # doctest: +SKIP
        'The shipped patch against a LoRA that was trained as long without the sound, ...'
    """
    from pave.bases import load_base

    shown = progress or (lambda what, done, total: None)
    pace = Pace(config.seconds, settled_precision(config.precision), say)
    _clear(config.out)
    with PeakMemory() as memory:
        with pace.stage("base", f"loading {config.base}"):
            base = load_base(config.base, device="auto")
        with pace.stage("concert", f'asking about a real concert: "{QUESTION}"'):
            answers = _ask_about_concert(config, base, pace)
        demo = _Demo(config, base, pace, shown)
        shipped = demo.ask_shipped()
        training = demo.train()
        new = demo.ask_new() if training.finished else None
        quick = Quick(
            concert=answers,
            shipped=shipped,
            new=new,
            new_arm=demo.settings.patch_arm,
            shipped_steps=_steps_of(config.patch),
            planned_clips=config.test_clips,
            steps=training.steps,
            steps_done=training.done,
            train_clips=training.clips,
            curve=training.curve,
            seconds={"training": round(training.seconds, 1), "all": round(pace.seconds, 1)},
            costs=pace.costs,
            budget=pace.budget,
            peak_rss_mb=memory.megabytes,
            machine=processor(),
            command=shlex.join(["pave", *sys.argv[1:]]),
            settings=config.model_dump(mode="json"),
        )
        with pace.stage("report", "writing the report"):
            write_quick(quick, config.out, shown)
    # Once more, with what the report itself has cost.
    seconds = quick.seconds | {"all": round(pace.seconds, 1)}
    quick = quick.model_copy(update={"costs": pace.costs, "seconds": seconds})
    write_results(quick, config.out)
    return quick


class _Demo:
    """The stages that need each other's measurements."""

    def __init__(self, config: QuickConfig, base: Base, pace: Pace, progress: Progress) -> None:
        self.config = config
        self.base = base
        self.pace = pace
        self.progress = progress
        self.settings = config.training()
        self.clips = config.test_clips  # held-out clips to ask about
        # Wall seconds on this machine now: making and encoding a clip; an arm, about one clip.
        self.encode_seconds = 0.0
        self.ask_seconds = 0.0
        self.records: dict[str, Path] = {}

    def ask_shipped(self) -> Report:
        """Ask base, control and patch about held-out clips, as many as the time allows."""
        config = self.config
        pace = self.pace
        self._clips(TEST, config.test_clips)
        # Decided before anything is answered.
        self.clips = pace.clips(config.test_clips, _FEWEST_CLIPS, _ARMS, self.encode_seconds)
        if self.clips < config.test_clips:
            pace.say(
                f"  this machine is slow now: it asks about {self.clips} of {config.test_clips} "
                "held-out clips, so the intervals are wider"
            )
        arms = {BASE: None, CONTROL: config.control, PATCH: config.patch}
        what = f"asking about {counted(self.clips, 'held-out clip')}: {BASE}, {CONTROL}, {PATCH}"
        return self._ask("shipped arms", what, arms, "eval")

    def ask_new(self) -> Report:
        """Ask the patch that was trained the same questions."""
        # The base has answered them in the same batches.
        _keep(self.config.out / "eval" / f"{BASE}.jsonl", self.config.out / "eval-new")
        arms = {BASE: None, self.settings.patch_arm: str(self.config.out / "patch")}
        what = "asking the new patch about the same clips"
        return self._ask("new patch", what, arms, "eval-new")

    def train(self) -> Training:
        """Train a patch for as long as the time that is left allows."""
        config = self.config
        pace = self.pace
        # The new patch has to be asked, too.
        asking = 1.2 * self.clips * self.ask_seconds
        allowed = pace.left - asking - _AFTER
        steps = pace.steps(allowed, self.ask_seconds, self.encode_seconds, config.most_steps)
        if steps < _FEWEST:
            pace.say(
                f"  no training: it would have {max(0.0, allowed):.0f} s, enough for "
                f"{counted(steps, 'step')} at the speed of this machine now; --seconds gives "
                "more time"
            )
            return Training()
        clips = min(config.train_clips, train_clips(steps))
        self._clips(TRAIN, clips)
        settings = config.training(steps)
        run = run_configs(settings, self.records[TRAIN])[settings.patch_arm]
        allowed = pace.left - asking
        time = f"there is time for {counted(steps, 'step')}"
        what = f"training a patch from scratch in {settings.precision}: {time}"
        began = pace.seconds
        with pace.stage("training", what):
            finished = train_here(run, self.base, self.progress, pace.say, allowed)
            if finished:
                shutil.copytree(run.patch_folder, config.out / "patch")
            else:
                pace.say(
                    "  the training takes longer than planned, so it is stopped and not evaluated"
                )
        curve = [(int(step), loss) for step, loss in curves({PATCH: run})[PATCH]]
        done = steps
        if not finished:
            done = curve[-1][0] if curve else 0
        return Training(steps, done, clips, curve, pace.seconds - began, finished)

    def _clips(self, split: str, count: int) -> None:
        """Make clips of a split in processes, and encode each here as it is done."""
        what = f"making {counted(count, f'{split} clip')} with sound, and encoding each once"
        with self.pace.stage(f"{split} clips", what):
            self.records[split], seconds = make_encoded(
                self.settings, self.base, split, count, self.progress
            )
        self.encode_seconds = seconds / count

    def _ask(self, stage: str, what: str, arms: Mapping[str, str | None], out: str) -> Report:
        """Ask arms about the held-out clips; a patch is a folder or a name."""
        from pave.evaluate.run import evaluate

        folders: dict[str, list[Path] | None] = {}
        for name, patch in arms.items():
            folders[name] = None if patch is None else [Path(patch)]
        questions = EvalConfig(
            records=self.records[TEST],
            out=self.config.out / out,
            base=self.config.base,
            arms=folders,
            cache=self.settings.cache,
            limit=self.clips,
            batch=self.settings.batch_questions,
            max_new_tokens=self.settings.max_new_tokens,
            seed=self.config.seed,
            plot=False,
        )
        began = self.pace.seconds
        with self.pace.stage(stage, what):
            report = evaluate(questions, self.base, self.progress)
        took = self.pace.seconds - began
        self.ask_seconds = took / (len(arms) * self.clips)
        return report


@dataclass(frozen=True)
class Training:
    """What became of the training from scratch.

    Attributes:
        steps: Steps that were planned; 0 where there was no time for any.
        done: Steps that were done.
        clips: Clips that it trained on.
        curve: (step, loss) points.
        seconds: Wall seconds.
        finished: Whether there is a patch.
    """

    steps: int = 0
    done: int = 0
    clips: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False


def _clear(out: Path) -> None:
    """Take away what an earlier demo made there: every short demo is a fresh one."""
    for name in _MADE:
        place = out / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)


def _ask_about_concert(config: QuickConfig, base: Base, pace: Pace) -> dict[str, str]:
    """Who -> the answer about a real concert; empty where its wheel is not installed."""
    from pave.model import PatchedModel

    try:
        video = concert()
    except ConfigError as error:  # nothing else needs that wheel
        pace.say(f"  left out: {error}")
        return {}
    answers = {}
    model = PatchedModel(base)
    try:
        model.load_patch(config.patch, name=PATCH)
        with model.disable_patches():
            answers[BASE] = model.ask(video, QUESTION)
        answers[PATCH] = model.ask(video, QUESTION)
    finally:
        model.unpatch()
    for who, answer in answers.items():
        pace.say(f"  {who}: {answer}")
    return answers


def _keep(file: Path, folder: Path) -> None:
    """Let another evaluation begin with answers that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / file.name)


def _steps_of(patch: str) -> int | None:
    """Steps of the shipped patch, as it says itself."""
    from pave.patches import read_config
    from pave.patches.remote import locate

    return read_config(locate(patch)).training.get("steps")
