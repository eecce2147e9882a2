"""The short demo: on tiny parts, and as a newcomer runs it."""

from __future__ import annotations

import _thread
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import tiny
from pave.bases import load_base
from pave.errors import ConfigError
from pave.evaluate.machine import processor
from pave.model import PatchedModel, check_probe
from pave.patches import LoraSpec, read_config
from pave.patches.folder_card import fresh_card
from pave.train import TrainConfig
from pave_world import shipped
from pave_world.cli import demo as verb
from pave_world.demo import pace as pace_module
from pave_world.demo.config import DemoConfig
from pave_world.demo.here import train_here
from pave_world.demo.pace import Pace, train_clips
from pave_world.demo.quick import QuickConfig, run_quick
from pave_world.demo.quick_report import Quick, sparkline
from pave_world.demo.training import run_configs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the demo's clock shows."""
    now = [100.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: now[0])
    return now


def test_stages_are_told_and_their_costs_kept(clock: list[float]) -> None:
    said: list[str] = []
    pace = Pace(None, "fp32", said.append)
    clock[0] += 80
    assert (pace.budget, pace.seconds, pace.left) == (280, 80, 200)
    with pace.stage("arms", "asking"):
        clock[0] += 12.5
    assert said == ["[ 80 s, 200 s left] asking ..."]
    (cost,) = pace.costs
    assert (cost.stage, cost.wall) == ("arms", 12.5)
    with pytest.raises(ValueError), pace.stage("lost", "failing"):
        raise ValueError
    assert [cost.stage for cost in pace.costs] == ["arms", "lost"]
    assert Pace(None, "bf16", said.append).budget < 180
    assert Pace(600, "bf16", said.append).budget == 600


def test_steps_are_what_fits_into_the_time(clock: list[float]) -> None:
    pace = Pace(None, "fp32", print)

    def needed(steps: int) -> float:
        """Seconds of so many steps, of which each takes two clips, where clips take 0.2 s."""
        step = pace_module._STEP["fp32"] * 0.5
        return pace_module._START + steps * step + min(120, max(60, 2 * steps)) * 0.2

    for seconds in (60.0, 90.0, 200.0):
        steps = pace.steps(seconds, 0.5, 0.2, 340)
        assert needed(steps) <= seconds < needed(steps + 1)
    assert pace.steps(10.0, 0.5, 0.2, 340) == 0
    assert pace.steps(1e5, 0.5, 0.2, 340) == 340
    # On half the speed about half the steps fit.
    assert pace.steps(180.0, 1.0, 0.4, 340) < 0.6 * pace.steps(180.0, 0.5, 0.2, 340)
    # Every clip is seen once at least, and few steps have clips to choose from.
    assert (train_clips(30), train_clips(45), train_clips(300)) == (60, 90, 120)


def test_a_slow_machine_is_asked_about_fewer_clips(clock: list[float]) -> None:
    pace = Pace(280, "fp32", print)
    clock[0] += 30
    assert pace.clips(30, 12, 4, 0.2) == 30
    slow = pace.clips(30, 12, 4, 0.6)
    # Half of the 250 s that are left, for four arms.
    assert slow == int(125 / (4 * pace_module._ASK * 0.6))
    assert 12 < slow < 30
    assert pace.clips(30, 12, 4, 20.0) == 12


def test_a_curve_in_a_line() -> None:
    assert sparkline([(10, 2.0), (20, 1.25), (30, 0.25)]) == "█▅▁"
    assert sparkline([(10, 1.0), (20, 1.0)]) == "▁▁"
    assert sparkline([]) == ""


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Ctrl-C means an exception, also where the tests were started in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _training_for(seconds: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> bool:
    """What becomes of a training that would take a minute."""

    def slow(run: TrainConfig, **_: object) -> None:
        for _ in range(600):
            time.sleep(0.1)

    monkeypatch.setattr("pave.train.train", slow)
    config = DemoConfig(out=tmp_path, steps=10, precision="fp32").resolved()
    run = run_configs(config, tmp_path / "records.jsonl")["audio-patch"]
    return train_here(run, tiny.base(), lambda *_: None, lambda _: None, seconds)


@pytest.mark.usefixtures("interrupts")
def test_a_training_ends_when_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = time.monotonic()
    assert not _training_for(0.1, monkeypatch, tmp_path)
    assert time.monotonic() - before < 30


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_in_a_training_is_not_taken_for_the_end_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    somebody = threading.Timer(0.2, _thread.interrupt_main)
    somebody.start()
    with pytest.raises(KeyboardInterrupt):
        _training_for(60.0, monkeypatch, tmp_path)
    somebody.join()
    assert [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)] == []


def test_settings_of_the_whole_demo_ask_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(verb, "_short", lambda given: ran.append("short") or Path())
    monkeypatch.setattr(verb, "_whole", lambda given: ran.append("whole") or Path())
    verb.demo_verb()
    verb.demo_verb(settings=verb.DemoSettings(seed=3, seconds=400))
    assert capsys.readouterr().err == ""
    verb.demo_verb(full=True)
    assert capsys.readouterr().err == ""
    verb.demo_verb(settings=verb.DemoSettings(channel="views"))
    assert "channel is a setting of the whole demo, so" in capsys.readouterr().err
    assert ran == ["short", "short", "whole", "whole"]
    with pytest.raises(ConfigError, match="seconds"):
        verb.demo_verb(full=True, settings=verb.DemoSettings(seconds=400))


def test_what_is_shipped_is_small_and_was_trained_on_another_world() -> None:
    for folder in (shipped.sound_demo(), shipped.sound_demo_control()):
        config = read_config(folder)
        assert config.dtype == "fp16"
        assert config.base.name == "smol"
        # Neither the default demo's seed, nor those of the results' page.
        assert config.training["seed"] not in range(10)
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "pave demo --full --seed 100" in card
        # `python tools/shipped.py` writes both anew.
        assert fresh_card(folder) == card
        assert config.probe is not None
    files = [path for path in shipped.sound_demo().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000


@pytest.mark.slow
def test_what_is_shipped_answers_as_where_it_was_probed() -> None:
    model = PatchedModel(load_base("smol"))
    name = model.load_patch("sound-demo")
    assert check_probe(model, name).verdict != "different"


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A tiny base, and a patch and a control for it."""
    place = tmp_path_factory.mktemp("parts")
    made = tiny.base()
    made.model.save_pretrained(place / "base")
    made.tokenizer.save_pretrained(place / "base")
    model = PatchedModel(made)
    model.new_patch("audio", fusion={"hidden": 32}, lora=LoraSpec(rank=2), seed=0)
    model.save_patch(place / "hearing", training={"steps": 600})
    model.unpatch()
    model.new_patch(None, lora=LoraSpec(rank=2), seed=0, name="control")
    model.save_patch(place / "deaf")
    return {
        "base": str(place / "base"),
        "patch": str(place / "hearing"),
        "control": str(place / "deaf"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [3000.0, 1.0])
def test_all_stages_on_tiny_parts(parts: dict[str, str], tmp_path: Path, seconds: float) -> None:
    small = {"test_clips": 3, "train_clips": 4, "most_steps": 20, "precision": "fp32"}
    config = QuickConfig.model_validate(
        {**parts, **small, "out": tmp_path / "out", "seconds": seconds}
    )
    said: list[str] = []
    quick = run_quick(config, said.append)
    out = config.out
    assert quick == Quick.model_validate_json((out / "results.json").read_text())
    assert quick.shipped.arm_names() == ["base", "LoRA-only", "patch"]
    assert {"audio", "video"} <= set(quick.shipped.families())
    assert set(quick.concert) <= {"base", "patch"}
    page = (out / "report.md").read_text()
    assert processor().split(",")[0] in page
    # All that was done is in the table of costs.
    names = ["base", "concert", "test clips", "shipped arms"]
    if seconds > 10:
        names += ["train clips", "training", "new patch"]
    assert [cost.stage for cost in quick.costs] == [*names, "report"]
    assert all(f"| {name} |" in page for name in names)
    assert "visual control" in page and (out / "report.html").is_file()
    assert len(said) < 20
    assert quick.shipped.clips == quick.planned_clips == 3  # fewer than the fewest
    if seconds < 10:  # no time for a training
        assert (quick.steps, quick.new) == (0, None)
        assert any("no training" in line for line in said)
        assert "No patch was trained" in page
        return
    assert quick.steps == quick.steps_done == 20
    assert quick.new is not None and quick.new.arm_names() == ["base", "audio-patch"]
    # The same base was asked the same questions.
    assert quick.new.arm("base") == quick.shipped.arm("base")
    assert quick.curve[-1][0] == 20
    assert read_config(out / "patch").training["steps"] == 20


@pytest.mark.slow
def test_the_default_demo_from_an_empty_folder(tmp_path: Path) -> None:
    """As a newcomer runs it: within its time where the machine is idle, and with a real result."""
    source = str(Path(shipped.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": source}
    environment.pop("OMP_NUM_THREADS", None)  # as from a shell
    command = [sys.executable, "-m", "pave", "demo"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=2400
    )
    assert done.returncode == 0, done.stderr
    # Short where it is no terminal: stages, quarters of the training, tables and sentences.
    assert len(done.stdout.splitlines()) + len(done.stderr.splitlines()) < 60
    found = json.loads((tmp_path / "outputs" / "demo" / "results.json").read_text())
    quick = Quick.model_validate(found)
    gap = quick.shipped.gap("patch", "LoRA-only", "audio")
    assert gap.difference > 0 and gap.ci95[0] > 0
    assert "outputs/demo/report.html" in done.stdout
