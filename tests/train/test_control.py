"""`--control`: the same settings without the channel, whatever they ask of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pave import train as room
from pave.cli import main
from pave.errors import ConfigError
from pave.train import TrainConfig, load_config
from pave.train.control import without_channel

SETTINGS = """
records: train.jsonl
out: runs/sound
channel: audio
encoder: mel
encoder_settings: {n_mels: 32}
fusion: {hidden: 64}
align_steps: 400
align_families: [heard]
lora: {rank: 8}
steps: 7
"""


def test_all_else_stays() -> None:
    config = load_config("avqa-7b", {"align_steps": 9})
    control = without_channel(config)
    left = {
        name
        for name in type(config).model_fields
        if getattr(config, name) != getattr(control, name)
    }
    assert left == {"channel", "encoder", "fusion", "align_steps"}
    assert (control.channel, control.align_steps) == (None, 0)


def test_nothing_to_train_is_refused() -> None:
    config = TrainConfig(records="r", out="o", channel="audio", encoder="mel", lora=None)
    with pytest.raises(ConfigError, match="`lora` is null"):
        without_channel(config)


def test_one_flag_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sound.yaml").write_text(SETTINGS)
    given: list[TrainConfig] = []

    def stop(config: TrainConfig) -> None:
        given.append(config)
        raise ConfigError("far enough")

    monkeypatch.setattr(room, "train", stop, raising=False)
    words = ["train", "--config", str(tmp_path / "sound.yaml"), "--out", "runs/control"]
    assert main([*words, "--control"]) == 2
    assert "far enough" in capsys.readouterr().err
    (config,) = given
    assert config == TrainConfig(
        records="train.jsonl", out="runs/control", lora={"rank": 8}, steps=7
    )
