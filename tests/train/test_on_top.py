"""A sound patch trained on top of a frozen one, with both ways of LoRA, up to its evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from helpers import tiny, toy
from helpers.clips import tone
from pave.data import Record, Turn, write_records
from pave.errors import ConfigError, PatchError, TrainError
from pave.evaluate import EvalConfig, evaluate
from pave.media import write_video
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import TrainConfig, train
from pave.train.checkpoints import newest_checkpoint
from pave.train.folder import LOG_NAME

SMALL = {"hidden": 16, "heads": 2, "layers": 1}


def records(folder: Path) -> Path:
    """Clips with dense features and sound; one lacks the sound, one the features.

    The dense features stand in for a high frame rate.
    """
    chance = np.random.default_rng(0)
    made = []
    for clip in range(4):
        frames = [chance.integers(0, 255, (42, 42, 3), dtype=np.uint8) for _ in range(8)]
        film = str(
            write_video(folder / f"{clip}.mp4", frames, 8, tone(1.0, hertz=300 + 200 * clip), 16000)
        )
        np.save(folder / f"{clip}.npy", chance.normal(size=(6, 1, toy.DIM)).astype(np.float32))
        channels = {"audio": film, "features": str(folder / f"{clip}.npy")}
        channels.pop({2: "audio", 3: "features"}.get(clip, ""), None)
        turn = Turn(question="What?", answer="dog" if clip % 2 else "horse")
        made.append(
            Record(
                id=str(clip),
                video=film,
                channels=channels,
                turns=[turn],
                answers=[turn.answer or ""],
            )
        )
    return write_records(folder / "records.jsonl", made)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained patch on the features channel; its folder."""
    folder = tmp_path_factory.mktemp("first")
    records(folder)
    config = toy.config(folder, "dense", steps=2, lr_gate=0.05, lr_lora=0.01, task="dense frames")
    return train(config, base=tiny.base(), progress=False).patch


def sound_config(first: Path, out: str, **more: object) -> TrainConfig:
    folder = first.parents[1]
    settings = {
        "channel": "audio",
        "encoder": "mel",
        "encoder_settings": {},
        "fusion": SMALL,
        "base_patches": [str(first)],
    }
    return toy.config(
        folder, out, **{**settings, "steps": 3, "lr_gate": 0.05, "save_every": 2, **more}
    )


@pytest.mark.parametrize("below", ["frozen", "continued"])
def test_a_sound_patch_trains_base_patches_a_frozen_one(
    first: Path, tmp_path: Path, below: str
) -> None:
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    config = sound_config(first, below, base_lora=below)
    base = tiny.base()
    result = train(config, base=base, progress=False)
    assert all(path.read_bytes() == data for path, data in before.items())
    saved = read_config(result.patch)
    (base_patch,) = saved.base_patches
    weights = {
        name: digest
        for name, digest in read_config(first).files.items()
        if name.endswith(".safetensors")
    }
    assert (base_patch.channel, base_patch.task, base_patch.lora, base_patch.files) == (
        "features",
        "dense frames",
        below,
        weights,
    )
    assert (
        saved.channel == "audio"
        and saved.training["base_patches"] == ["patch"]
        and saved.training["base_lora"] == below
    )
    card = (result.patch / "README.md").read_text()
    assert "# first" in card and f"its LoRA {below}" in card
    assert (
        json.loads((config.out / LOG_NAME).read_text().splitlines()[0])["residual_ratio"] == 0
    )  # its own, not the frozen one's

    model = PatchedModel(base)
    with pytest.raises(
        PatchError,
        match=r"on top of the patch 'below1' \(channel features, dense frames\), which",
    ):
        model.load_patch(result.patch)
    assert list(model.patches) == []
    model.load_patch(first, name="dense")
    model.load_patch(result.patch, name="sound")
    assert [f.name for f in model.patches["sound"].config.base_patches] == ["dense"]
    ours, theirs = (
        model.patches["sound"].lora.parameters(),
        model.patches["dense"].lora.parameters(),
    )
    assert any(not torch.equal(ours[key], theirs[key]) for key in ours)
    copy = model.save_patch(tmp_path / "copy", "sound")
    assert read_config(copy).base_patches[0].files == weights
    model.load_patch(first, name="again")  # as another arm of an evaluation would
    model.load_patch(result.patch, name="top")
    assert [f.name for f in model.patches["top"].config.base_patches] == ["again"]
    with pytest.raises(
        PatchError, match="'sound' was trained on top of 'dense'; delete 'sound' first"
    ):
        model.delete_patch("dense")
    model.unpatch()

    arms = {"base": None, "dense": [first], "both": [first, result.patch]}
    report = evaluate(
        EvalConfig(
            records=first.parents[1] / "records.jsonl", out=tmp_path / "eval", arms=arms,
            frames=4, max_new_tokens=2, plot=False, store=first.parents[1] / "store", resamples=100,
        ),
        base,
    )  # fmt: skip
    sizes = report.trainable_parameters
    assert set(sizes) == {"dense", "both"} and sizes["both"] > sizes["dense"]
    assert not (tmp_path / "eval" / "cache").exists()
    said = [(tmp_path / "eval" / f"{arm}.jsonl").read_text().splitlines() for arm in arms]
    assert [len(lines) for lines in said] == [4, 4, 4]


def test_the_base_is_fed_as_for_the_patch_below(first: Path) -> None:
    folder, grid = first.parents[1], {"newline": "grid"}
    below = train(
        toy.config(folder, "grid", steps=1, inputs=grid), base=tiny.base(), progress=False
    ).patch
    base = tiny.base()
    for name, more in {"open": {}, "same": {"inputs": grid}}.items():
        patch = train(
            sound_config(below, f"on-grid-{name}", steps=1, **more), base=base, progress=False
        ).patch
        assert read_config(patch).inputs.newline == "grid" and base.inputs.native
    with pytest.raises(
        ConfigError,
        match=r"base_patches were trained with inputs {'newline': 'grid'}; leave `inputs` out",
    ):
        train(
            sound_config(below, "on-grid-other", inputs={"newline": "frame"}),
            base=base,
            progress=False,
        )
    with pytest.raises(
        ConfigError, match="leave"
    ):  # also where it was trained in the family's own way
        train(sound_config(first, "other-inputs", inputs=grid), base=base, progress=False)
    assert base.inputs.native


def test_an_interrupted_run_on_top_ends_as_an_uninterrupted_one(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(sound_config(first, "whole"), base=tiny.base(), progress=False)
    config = sound_config(first, "cut")
    from pave.train.progress import Reporter

    original = Reporter.on_step_end

    def die(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        original(self, args, state, control, **kwargs)
        if state.global_step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Reporter, "on_step_end", die)
    with pytest.raises(KeyboardInterrupt):
        train(config, base=tiny.base(), progress=False)
    monkeypatch.undo()
    assert newest_checkpoint(config.out / "checkpoints") is not None
    again = train(config, base=tiny.base(), progress=False)
    assert again.resumed_from == 2
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        assert (again.patch / name).read_bytes() == (whole.patch / name).read_bytes()
    other = train(
        sound_config(first, "other", base_patches=[]), base=tiny.base(), progress=False
    ).patch
    with pytest.raises(TrainError, match="other base_patches"):
        train(
            config.model_copy(update={"base_patches": (str(other),)}),
            base=tiny.base(),
            progress=False,
        )


def test_what_cannot_be_continued_is_told(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base_lora=continued needs a patch"):
        sound_config(first, "none", base_patches=[], base_lora="continued")
    with pytest.raises(ValidationError):
        EvalConfig(records="r", out="o", arms={"a": 3})  # type: ignore[dict-item]
    bare = train(
        sound_config(first, "bare", base_patches=[], lora=None), base=tiny.base(), progress=False
    ).patch
    base = tiny.base()
    with pytest.raises(ConfigError, match="none of the patches in base_patches has a LoRA"):
        train(
            sound_config(first, "no-lora", base_patches=[str(bare)], base_lora="continued"),
            base=base,
            progress=False,
        )
    PatchedModel(base).unpatch()  # given back all the same
