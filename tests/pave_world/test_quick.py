"""The short demo: on tiny parts, and as a newcomer runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import tiny
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.patches import LoraSpec, read_config
from pave_world import shipped
from pave_world.cli import demo as verb
from pave_world.demo import pace as pace_module
from pave_world.demo.config import DemoConfig
from pave_world.demo.pace import Pace, processor_name
from pave_world.demo.quick import QuickConfig, run_quick
from pave_world.demo.quick_report import Quick, sparkline
from pave_world.demo.training import TimeIsUp, run_configs, train_runs


def test_steps_are_what_fits_into_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(pace_module.time, "monotonic", lambda: now[0])
    said: list[str] = []
    pace = Pace(None, "fp32", said.append)
    now[0] += 80
    assert (pace.budget, pace.seconds, pace.left) == (280, 80, 200)
    pace.tell("asking")
    assert said == ["[ 80 s, 200 s left] asking ..."]
    # 25 s of the 125 are the start of the process; a step takes 4.2 times half a second.
    assert pace.steps(125.0, 0.5) == int(100 / 2.1)
    assert pace.steps(10.0, 0.5) == 0
    # On half the speed half the steps fit, give or take one.
    assert abs(pace.steps(125.0, 0.5) - 2 * pace.steps(125.0, 1.0)) <= 1
    assert Pace(None, "bf16", said.append).budget < 180
    assert Pace(600, "bf16", said.append).budget == 600


def test_a_curve_in_a_line() -> None:
    assert sparkline([(10, 2.0), (20, 1.25), (30, 0.25)]) == "█▅▁"
    assert sparkline([(10, 1.0), (20, 1.0)]) == "▁▁"
    assert sparkline([]) == ""


def test_a_training_ends_when_its_time_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two runs that would sleep for a minute none is left."""
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def sleeper(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        process = popen([sys.executable, "-c", "import time; time.sleep(60)"])
        started.append(process)
        return process

    monkeypatch.setattr("pave_world.demo.training.subprocess.Popen", sleeper)
    config = DemoConfig(out=tmp_path, steps=10, precision="fp32").resolved()
    runs = run_configs(config, tmp_path / "records.jsonl")
    before = time.monotonic()
    with pytest.raises(TimeIsUp):
        train_runs(config, runs, lambda *_: None, lambda _: None, seconds=0.1)
    assert time.monotonic() - before < 30
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


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
    assert "channel is a setting of the whole demo, which runs now" in capsys.readouterr().err
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
        assert "pave demo --full --seed 100" in (folder / "README.md").read_text()
    files = [path for path in shipped.sound_demo().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000


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
    assert processor_name().split(",")[0] in page
    assert "visual control" in page and (out / "report.html").is_file()
    assert len(said) < 20
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
