"""Bases that lie on several devices, proved on `helpers.elsewhere` beside the CPU.

accelerate's own hooks bring what goes into each part to its device, as `device_map` puts them on.
It takes the CPU beside another device for a place to offload to, so the hooks are put on here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from torch import nn

from helpers import elsewhere, tiny, tiny_patch, tinyrun, toy
from pave.bases import Base, load_base
from pave.bases.loading import Loading
from pave.cli.app import main
from pave.errors import BaseError, ConfigError
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.train import train

HERE, THERE = "cpu", elsewhere.PLACE.type


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tinyrun.clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 0)


@pytest.fixture
def place() -> Iterator[torch.device]:
    with elsewhere.device() as found:
        yield found


def _map(base: Base, split: str) -> dict[str, str]:
    """Tower and projector elsewhere; or the second half of the layers, with norm and head."""
    sight, words = (THERE, HERE) if split == "tower" else (HERE, HERE)
    name = base.family.language_model
    found = {"lm_head": words if split == "tower" else THERE}
    for part, _ in base.inner.named_children():
        if part != name:
            found[f"model.{part}"] = sight
    for part, _ in base.inner.named_parameters(recurse=False):
        found[f"model.{part}"] = sight
    for part, module in getattr(base.inner, name).named_children():
        if part == "layers":
            for number in range(len(module)):
                late = split == "layers" and 2 * number >= len(module)
                found[f"model.{name}.{part}.{number}"] = THERE if late else words
        else:
            found[f"model.{name}.{part}"] = THERE if part == "norm" and split == "layers" else words
    return found


def _spread(base: Base, split: str) -> Base:
    """Move parts, and put accelerate's hooks on, as its `dispatch_model` does."""
    places = _map(base, split)
    model = base.model
    for path, device in places.items():
        owner = model.get_submodule(path.rpartition(".")[0])
        name = path.rpartition(".")[2]
        part = getattr(owner, name)
        if isinstance(part, nn.Parameter):
            part = nn.Parameter(part.to(device), requires_grad=False)
            setattr(owner, name, part)
        else:
            part.to(device)
    main = next(model.parameters()).device
    attach_align_device_hook_on_blocks(
        model,
        execution_device={**places, "": main},
        offload=dict.fromkeys(places, False),
        skip_keys=model._skip_keys_device_placement,
        tied_params_map={},
    )
    model.hf_device_map = places
    return base


def _answers(base: Base, video: Path) -> list[Any]:
    """Of a patch with random weights: several questions on a shared prefix, one alone, merged."""
    model = PatchedModel(base)
    model.new_patch("audio", lora=LoraSpec(rank=2), fusion={"hidden": 32}, seed=0)
    tiny_patch.shake(model)
    answers: list[Any] = [model.ask(video, ["Hm?", "What is it?"], max_new_tokens=3)]
    answers.append(model.ask(video, "Hm?", max_new_tokens=3))
    model.merge()
    answers.append(model.ask(video, "Hm?", max_new_tokens=3))
    model.unpatch()
    return answers


USUAL = ("llava_onevision", "qwen2_5_vl")
FAMILIES = [
    *USUAL,
    *(pytest.param(name, marks=pytest.mark.slow) for name in tiny.FAMILIES if name not in USUAL),
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("split", ["tower", "layers"])
def test_asking(family: str, split: str, video: Path, place: torch.device) -> None:
    expected = _answers(tiny.base(family), video)
    base = _spread(tiny.base(family), split)
    assert {tensor.device.type for tensor in base.model.parameters()} == {HERE, THERE}
    assert _answers(base, video) == expected
    assert {tensor.device.type for tensor in base.model.parameters()} == {HERE, THERE}


@pytest.mark.parametrize("split", ["tower", "layers"])
def test_training(split: str, tmp_path: Path, place: torch.device) -> None:
    """The whole run; the Trainer gathers nothing on one device."""
    toy.records(tmp_path, clips=2, questions=1)
    settings: dict[str, Any] = {
        "steps": 1, "batch_clips": 2, "align_steps": 2, "precision": "fp32", "device": "cpu",
    }  # fmt: skip
    whole = train(toy.config(tmp_path, "cpu", **settings), base=tiny.base())
    base = _spread(tiny.base(), split)
    found = train(toy.config(tmp_path, "split", **settings), base=base)
    assert {tensor.device.type for tensor in base.model.parameters()} == {HERE, THERE}
    assert math.isclose(found.final_loss, whole.final_loss, rel_tol=1e-3)


def test_a_map_reaches_the_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a machine without GPUs it leads to the CPU."""
    made = tinyrun.make(tmp_path / "made", clips=1, questions=1)
    for given in ("auto", {"": "cpu"}):
        base = load_base(made.base, device_map=given, tower=False)
        assert base.device.type == "cpu" and base.tower_loaded
    words = ["--base", str(made.base), "--patch", str(made.patch)]
    assert main(["ask", str(made.loud), "Hm?", *words, "--device-map", "auto"]) == 0
    assert main(["ask", str(made.loud), "Hm?", *words, "--device-map", '{"": "cpu"}']) == 0
    (tmp_path / "e.yaml").write_text('device_map: {"": cpu}\n')
    words = ["--records", str(made.records), "--base", str(made.base), "--no-plot"]
    words += ["--out", str(tmp_path / "e"), "--config", str(tmp_path / "e.yaml")]
    assert main(["eval", *words]) == 0
    capsys.readouterr()
    assert main(["eval", *words, "--device", "cpu"]) == 2
    assert (
        "device_map already chooses the devices of the base; leave device out"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("atuo", "no device_map 'atuo' .did you mean 'auto'.*sequential, or a mapping"),
        ({}, "no device_map"),
        (3, "there is no device_map 3; use auto"),
        ({"model": 0, "lm_head": "cpu"}, "puts parts on the CPU or a disk"),
        ({"": "disk"}, "puts parts on the CPU or a disk"),
    ],
)
def test_other_maps_are_refused(given: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        load_base(tmp_path, device_map=given)
    with pytest.raises(ValueError, match=said):
        Loading(device_map=given)


def test_a_map_has_its_own_devices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave device out"):
        load_base(tmp_path, device_map="auto", device="cpu")
    with pytest.raises(ValueError, match="not a JSON object"):
        Loading(device_map="{model")
    base = tiny.base()
    with pytest.raises(BaseError, match="is loaded already"):
        load_base(base.model, base.tokenizer, device_map="auto")
