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
from pave.evaluate.machine import PeakMemory
from pave.patches import LoraSpec
from pave.train import TrainConfig
from pave.train.config import MAX_SEED
from pave.train.precision import Precision, settled_precision
from pave_world.assets import concert
from pave_world.demo.config import DemoConfig
from pave_world.demo.pace import Pace, processor_name
from pave_world.demo.prepare import TEST, TRAIN, Progress, encode_clips, make_splits
from pave_world.demo.quick_report import Quick, write_quick
from pave_world.demo.training import CONTROL, TimeIsUp, curves, run_configs, train_runs

if TYPE_CHECKING:
    from pave.bases import Base

Say = Callable[[str], None]
BASE, PATCH = "base", "patch"
QUESTION = "What do you hear?"
_MADE = ("world", "store", "runs", "eval", "eval-new", "patch", "demo.json")
_FEWEST = 20  # steps; fewer show the warm-up of the rates alone
_AFTER = 12.0  # seconds for the report and what cannot be foreseen


class QuickConfig(BaseModel):
    """What the short demo asks, and how long it may take.

    Example:
        >>> QuickConfig().patch
        'sound-demo'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path = Field(Path("outputs/demo"), description="Folder of everything that the demo makes.")
    seconds: float | None = Field(
        None, gt=0, le=1e6, description="Wall seconds it may take; 280, or 165 with bf16 units."
    )
    seed: int = Field(
        1,
        ge=0,
        le=MAX_SEED,
        description="Seed of the clips, the training and the bootstrap. The shipped patch was "
        "trained on the clips of another.",
    )
    test_clips: int = Field(30, ge=2, description="Held-out clips to ask about.")
    train_clips: int = Field(120, ge=1, description="Clips that the new patch trains on.")
    most_steps: int = Field(340, ge=1, description="Steps of the training, where there is time.")
    precision: Precision = Field("auto", description="Of the training.")
    base: str = Field("smol", description="The base of the shipped patch.")
    patch: str = Field("sound-demo", description="The shipped patch.")
    control: str = Field("sound-demo-control", description="Its control, a LoRA without the sound.")

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
    from pave.evaluate.run import evaluate

    shown = progress or (lambda what, done, total: None)
    demo = config.training()
    pace = Pace(config.seconds, demo.precision, say)
    _clear(config.out)
    with PeakMemory() as memory:
        pace.tell(f"loading {config.base}, which the first time is put together")
        base = load_base(config.base, device="auto")
        answers = _ask_about_concert(config, base, pace)
        pace.tell(f"making {config.test_clips + config.train_clips} clips with sound")
        records = make_splits(demo, shown)
        pace.tell(f"encoding every clip once, {demo.preset.does}")
        encode_clips(demo, records, shown)
        pace.tell(f"asking about {config.test_clips} held-out clips: {BASE}, {CONTROL}, {PATCH}")
        began = pace.seconds
        arms = {BASE: None, CONTROL: config.control, PATCH: config.patch}
        shipped = evaluate(_questions(config, records[TEST], arms, "eval"), base, shown)
        arm_seconds = (pace.seconds - began) / len(arms)
        training = _train(config, records[TRAIN], arm_seconds, pace, shown)
        new = None
        if training.finished:
            pace.tell("asking the new patch about the same clips")
            # The base has answered the same questions in the same batches.
            _keep(config.out / "eval" / f"{BASE}.jsonl", config.out / "eval-new")
            arms = {BASE: None, demo.patch_arm: str(config.out / "patch")}
            new = evaluate(_questions(config, records[TEST], arms, "eval-new"), base, shown)
        quick = Quick(
            concert=answers,
            shipped=shipped,
            new=new,
            new_arm=demo.patch_arm,
            shipped_steps=_steps_of(config.patch),
            steps=training.steps,
            steps_done=training.done,
            curve=training.curve,
            seconds={"training": round(training.seconds, 1), "all": round(pace.seconds, 1)},
            budget=pace.budget,
            peak_rss_mb=memory.megabytes,
            machine=processor_name(),
            command=shlex.join(["pave", *sys.argv[1:]]),
            settings=config.model_dump(mode="json"),
        )
        pace.tell("writing the report")
        write_quick(quick, config.out, shown)
    return quick


@dataclass(frozen=True)
class Training:
    """What became of the training from scratch.

    Attributes:
        steps: Steps that were planned; 0 where there was no time for any.
        done: Steps that were done.
        curve: (step, loss) points.
        seconds: Wall seconds, start of the process included.
        finished: Whether there is a patch.
    """

    steps: int = 0
    done: int = 0
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

    pace.tell(f'asking about a real concert: "{QUESTION}"')
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


def _questions(
    config: QuickConfig, records: Path, arms: Mapping[str, str | None], out: str
) -> EvalConfig:
    """What to ask whom; a patch is a folder or a name."""
    demo = config.training()
    folders: dict[str, list[Path] | None] = {}
    for name, patch in arms.items():
        folders[name] = None if patch is None else [Path(patch)]
    return EvalConfig(
        records=records,
        out=config.out / out,
        base=config.base,
        arms=folders,
        cache=demo.cache,
        batch=demo.batch_questions,
        max_new_tokens=demo.max_new_tokens,
        seed=config.seed,
        plot=False,
    )


def _train(
    config: QuickConfig, records: Path, arm_seconds: float, pace: Pace, progress: Progress
) -> Training:
    """Train a patch for as long as the time that is left allows.

    Args:
        config: All numbers.
        records: What to train on.
        arm_seconds: What an arm took to be asked; the new patch has to be asked, too.
        pace: The clock.
        progress: Called with (what, done, total).
    """
    allowed = pace.left - 1.2 * arm_seconds - _AFTER
    steps = min(config.most_steps, pace.steps(allowed, arm_seconds / config.test_clips))
    if steps < _FEWEST:
        pace.say(
            f"  no training: it would have {max(0.0, allowed):.0f} s, enough for {steps} steps at "
            "the speed of this machine now; --seconds gives more time"
        )
        return Training()
    demo = config.training(steps)
    pace.tell(f"training a patch from scratch in {demo.precision}: {steps} steps fit")
    began = pace.seconds
    name = demo.patch_arm
    run: TrainConfig = run_configs(demo, records)[name]
    finished = True
    try:
        train_runs(demo, {name: run}, progress, pace.say, seconds=allowed)
        shutil.copytree(run.patch_folder, config.out / "patch")
    except TimeIsUp:
        finished = False
        pace.say("  the machine became slower: the training is stopped, its patch is not asked")
    curve = [(int(step), loss) for step, loss in curves({name: run})[name]]
    done = steps if finished else max((step for step, _ in curve), default=0)
    return Training(steps, done, curve, pace.seconds - began, finished)


def _keep(file: Path, folder: Path) -> None:
    """Let another evaluation begin with answers that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / file.name)


def _steps_of(patch: str) -> int | None:
    """Steps of the shipped patch, as it says itself."""
    from pave.patches import read_config
    from pave.patches.remote import locate

    return read_config(locate(patch)).training.get("steps")
