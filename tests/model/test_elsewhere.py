"""Every family answers and trains on a device that is not the CPU (`helpers.elsewhere`).

The same weights must give the same words as on the CPU: a tensor that is left behind is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from helpers import elsewhere, tiny, tiny_patch, tinyrun, toy
from pave import placement
from pave.bases import Base
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import train


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinyrun.clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 0)


@pytest.fixture
def place() -> Iterator[torch.device]:
    with elsewhere.device() as found:
        yield found


def _answers(base: Base, video: Path) -> list[list[str]]:
    """Of a patch with random weights: several questions on a shared prefix, one alone, merged."""
    model = PatchedModel(base)
    model.new_patch("audio", lora=LoraSpec(rank=2), fusion={"hidden": 32}, seed=0)
    tiny_patch.shake(model)
    # Two tokens: at a third, the two likeliest ones of one family differ by less than rounding.
    answers = [model.ask(video, ["Hm?", "What is it?"], max_new_tokens=2)]
    model.merge()
    answers.append([model.ask(video, "Hm?", max_new_tokens=2)])
    return answers


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_asking(family: str, video: Path, place: torch.device) -> None:
    expected = _answers(tiny.base(family), video)
    base = tiny.base(family)
    base.model.to(place)
    assert _answers(base, video) == expected
    assert base.device == place


# One of plain positions and one of several axes; the others are as slow.
USUAL = ("llava_onevision", "qwen2_5_vl")
OTHERS = [name for name in tiny.FAMILIES if name not in USUAL]


@pytest.mark.parametrize(
    "family", [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_training(
    family: str, tmp_path: Path, place: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole run: tokens, aligned start, steps, checkpoint, patch folder."""
    toy.records(tmp_path, clips=2, questions=1)
    settings = {"steps": 1, "batch_clips": 2, "align_steps": 2, "precision": "fp32"}
    here = train(toy.config(tmp_path, "cpu", device="cpu", **settings), base=tiny.base(family))
    # What the Trainer takes where it sees no GPU.
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", place.type)
    monkeypatch.setattr(placement, "find_device", lambda word: place)
    base = tiny.base(family)
    base.model.to(place)
    there = train(toy.config(tmp_path, "there", **settings), base=base)
    assert base.device == place
    assert math.isclose(there.final_loss, here.final_loss, rel_tol=1e-3)


def test_the_device_sees_what_was_left_behind(place: torch.device) -> None:
    there, here = torch.ones(3, device=place), torch.ones(3)
    assert torch.equal((there + there.to(place)).cpu(), here * 2)
    assert (there * torch.tensor(2.0)).device == place  # a number may come from the CPU
    assert there[torch.tensor([0, 2])].shape == (2,)  # and so may an index
    for mixed in (
        lambda: there + here,
        lambda: torch.cat([here, there]),
        lambda: torch.nn.functional.linear(there[None], here[None]),
        lambda: here[torch.tensor([0], device=place)],
        lambda: there.add_(here),
    ):
        with pytest.raises(AssertionError, match="a CPU tensor .* meets one elsewhere"):
            mixed()
