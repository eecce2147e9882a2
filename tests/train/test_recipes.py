"""The recipes: each loads, holds nothing that is the default anyway, and is the paper's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from helpers.minisets import TASKS
from pave.channels import make_encoder
from pave.fusion import FusionConfig
from pave.fusion_costs import fusion_parameters
from pave.paper import AUTHORS_INPUTS
from pave.tasks import get_task
from pave.train import TrainConfig, load_config
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan
from pave.train.recipes import recipes_folder

FOLDER = recipes_folder()
RECIPES = sorted(FOLDER.glob("*.yaml"))
WIDTHS = {"imagebind": 1024, "llava3d": 1024, "languagebind": 1024, "tower": 1152}
HIDDEN = {"0.5b": 896, "7b": 3584}
# PAVE's parameter counts of the fusion function.
COUNTS = {
    ("audio", 2, "7b"): 8_996_352,
    ("audio", 2, "0.5b"): 6_235_776,
    ("audio", 3, "7b"): 10_833_920,
}
COUNTS |= {
    ("audio", 3, "0.5b"): 8_073_344,
    ("views", 2, "7b"): 9_061_888,
    ("views", 2, "0.5b"): 6_301_312,
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_loads_and_says_only_what_differs(path: Path) -> None:
    values = yaml.safe_load(path.read_text("utf-8"))
    config = load_config(path)
    defaults = TrainConfig(records="r", out="o").model_dump()
    same = [
        name
        for name, value in values.items()
        if name in defaults and config.model_dump()[name] == defaults[name]
    ]
    assert not same
    assert config.inputs == AUTHORS_INPUTS
    assert (
        config.task in TASKS
        and config.channel == get_task(config.task).channel
        or "sound-and-frames" in path.stem
    )
    assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (64, 16, 0.05)
    assert config.lr_lora == config.lr_fusion == config.lr_gate == 2e-5
    assert (config.max_grad_norm, config.weight_decay, config.warmup, config.seed) == (
        0.1,
        0,
        0.03,
        42,
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_has_the_papers_number_of_parameters(path: Path) -> None:
    config, size = load_config(path), path.stem.rpartition("-")[2]
    fusion = FusionConfig(
        side_dim=WIDTHS[config.encoder], query_dim=1152, out_dim=HIDDEN[size], **config.fusion
    )
    channel = "views" if config.channel == "views" else "audio"
    assert fusion_parameters(fusion) == COUNTS[channel, fusion.layers, size]
    assert fusion.tie_kv and fusion.alignment == "groups"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_authors_features_fit_a_recipe(path: Path) -> None:
    config = load_config(path)
    assert (
        make_encoder(config.channel, "official", config.encoder_settings).dim
        == WIDTHS[config.encoder]
    )


def test_every_experiment_of_the_paper_has_its_recipes() -> None:
    trained = [name for name in TASKS if "train" in get_task(name).splits]
    wanted = {f"{name}-{size}" for name in trained for size in HIDDEN} | {
        "avsd-sound-and-frames-7b"
    }
    assert {path.stem for path in RECIPES} == wanted


def test_sound_base_patches_frames_starts_from_the_video_recipe() -> None:
    config, below = (
        load_config(FOLDER / f"{name}.yaml")
        for name in ("avsd-sound-and-frames-7b", "llava-video-7b")
    )
    assert (
        config.base_patches == (str(below.patch_folder),)
        and config.base_lora == "continued"
        and below.channel == "frames"
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_estimated_without_the_weights_of_its_encoder(path: Path) -> None:
    found = estimate(plan(str(path)))
    config, size = load_config(path), path.stem.rpartition("-")[2]
    assert (
        found.parameters["fusion"]
        == COUNTS[
            "views" if config.channel == "views" else "audio", config.fusion.get("layers", 2), size
        ]
    )
    assert size == "0.5b" or 0.0007 < found.share < 0.00145
