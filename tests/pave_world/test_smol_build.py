"""The training of `smol`: every scene in turn, weights that load again, a card that says how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pave_world.smol.build import BuildSettings, Leg, _batches, _resume, build, trained_state


def test_a_pass_shows_every_scene_once_and_no_two_processes_share_one() -> None:
    settings = BuildSettings(legs=(Leg(clips=24, steps=6, peak=1.0),), batch=4, workers=2)
    one = list(_batches(settings, leg=0, rank=0))
    other = list(_batches(settings, leg=0, rank=1))
    first_pass = [index for batch in one[:3] + other[:3] for index in batch]
    assert sorted(first_pass) == list(range(24))  # 24 scenes are 3 steps of 2 x 4
    second_pass = [index for batch in one[3:] + other[3:] for index in batch]
    assert sorted(second_pass) == list(range(24))
    assert first_pass != second_pass


def test_an_interrupted_build_goes_on_with_the_leg_it_was_in(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    assert _resume(model, tmp_path) == (0, [])
    kept = trained_state(nn.Linear(2, 2))
    torch.save({"trained": kept, "losses": [0.5, 0.25], "legs": 1}, tmp_path / "trained.pt")
    assert _resume(model, tmp_path) == (1, [0.5, 0.25])
    assert torch.equal(model.weight, kept["weight"])
    assert torch.equal(model.bias, kept["bias"])


@pytest.mark.slow
def test_a_build_writes_weights_that_load_and_a_card_that_scores_them(tmp_path: Path) -> None:
    legs = (
        Leg(clips=2, steps=2, peak=1.0),
        Leg(clips=2, steps=1, peak=0.5, channels=("audio", "video")),
    )
    settings = BuildSettings(legs=legs, batch=1, workers=1, rank=2, test_clips=2)
    numbers = build(tmp_path / "out", tmp_path / "scratch", settings)
    state = torch.load(tmp_path / "scratch" / "trained.pt", weights_only=True)
    assert state["legs"] == 2
    assert len(state["losses"]) == 2 + 1
    written = load_file(tmp_path / "out" / "projector.safetensors")
    for name, value in written.items():
        assert torch.equal(state["trained"][_trained_name(state, name)].bfloat16(), value)
    assert json.loads((tmp_path / "out" / "lora" / "adapter_config.json").read_text())["r"] == 2
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for family, (correct, n) in numbers["scores"].items():
        assert f"| {family} | {n} | {correct / n:.3f} |" in card


def _trained_name(state: dict[str, Any], name: str) -> str:
    """The projector's parameter among all that was trained."""
    found = [key for key in state["trained"] if key.endswith(f"multi_modal_projector.{name}")]
    assert len(found) == 1
    return str(found[0])
