"""The card's example is a program that runs, for every encoder; and no path is called a Hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from safetensors.torch import save_file

import pave
import pave.model.attached as attached_module
import pave.model.encoders as encoders_module
from helpers import tiny, tiny_patch, tinyrun
from pave.channels import describe_encoder, list_encoders, make_encoder, register_encoder
from pave.channels.catalog import OWN
from pave.model import PatchedModel
from pave.patches import BaseId, LoraSpec, read_config
from pave.patches.card import make_card
from pave.tokens import Tokens

DIM = 12
SETTINGS: dict[str, dict[str, Any]] = {
    "features/file": {"dim": DIM},
    "audio/official": {"dim": DIM},
    "frames/official": {"dim": DIM},
    "scene3d/official": {"dim": DIM, "vhw": (2, 2, 2)},
    "views/official": {"dim": DIM},
    "views/tower": {"frames": 2, "side": 1},
}
"""Of the encoders that need more than their defaults to be small."""

# The authors' files: their shapes are `read_feature`'s.
FILES = {
    "audio/official": {"clip.pt": (5, DIM)},
    "frames/official": {"clip.pt": (6, 4, DIM)},
    "scene3d/official": {"scene0000_00.pt": (1, 8, DIM)},
    "views/official": {"cam1.pt": (1, 4, 4, DIM), "cam2.pt": (1, 4, 4, DIM)},
}


class PulseSettings(BaseModel, extra="forbid"):
    """None."""


class Pulse:
    """One number a second, from a text file."""

    channel, name, dim = "heart", "pulse", 1
    settings: dict[str, Any] = {}

    def __init__(self, settings: PulseSettings) -> None: ...

    def encode(self, source: Any) -> Tokens:
        """The numbers of the file."""
        numbers = [float(line) for line in Path(source).read_text().split()]
        return Tokens(torch.tensor(numbers)[:, None, None], torch.arange(float(len(numbers))))


class Weighty:
    """Stands for an encoder whose weights are not here; refuses what is no clip of its kind."""

    dim = DIM

    def __init__(self, channel: str, name: str) -> None:
        self.channel, self.name = channel, name
        self.settings: dict[str, Any] = {}

    def encode(self, source: Any) -> Tokens:
        """Tokens, if the example's media is there."""
        assert Path(source).exists()
        return tiny_patch.tokens(4, dim=DIM)


@pytest.fixture(autouse=True)
def third_party() -> None:
    """A registered third party's encoder."""
    register = register_encoder(
        "heart", "pulse", PulseSettings, gain="knows the pulse", example='"pulse.txt"'
    )
    register(Pulse)


def build(channel: str, name: str, settings: Any = None, *, tower: Any = None) -> Any:
    """The encoder itself where it needs no weights, else a stand-in."""
    info = describe_encoder(channel, name)
    if (channel, name) == ("heart", "pulse") or info.weights in ("none", "the base's own tower"):
        return make_encoder(channel, name, settings, tower=tower)
    return Weighty(channel, name)


def media(folder: Path, key: str) -> None:
    """Everything that an example may name, in a folder."""
    tinyrun.clip(folder / "video.mp4", seed=0)
    for number, camera in enumerate(("cam1.mp4", "cam2.mp4")):
        tinyrun.clip(folder / camera, seed=number)
    (folder / "pulse.txt").write_text("60 61 62")
    save_file({"values": torch.randn(5, 1, DIM)}, folder / "features.safetensors")
    for name, shape in FILES.get(key, {}).items():
        torch.save(torch.randn(shape), folder / name)
    scene(folder / "scene0000_00")


def scene(folder: Path) -> None:
    """Three posed depth frames in ScanNet's layout."""
    for part in ("color", "depth", "pose", "intrinsic"):
        (folder / part).mkdir(parents=True)
    for step in range(3):
        Image.fromarray(np.full((64, 64, 3), 40 * step, np.uint8)).save(
            folder / "color" / f"{step}.png"
        )
        Image.fromarray(np.full((64, 64), 2000, np.uint16)).save(folder / "depth" / f"{step}.png")
        pose = np.eye(4)
        pose[0, 3] = step
        np.savetxt(folder / "pose" / f"{step}.txt", pose)
    intrinsic = np.array([[40.0, 0, 31.5, 0], [0, 40.0, 31.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    np.savetxt(folder / "intrinsic" / "intrinsic_depth.txt", intrinsic)


def example(folder: Path) -> str:
    """The program on a patch's card."""
    return (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]


def run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run a card's program where its paths exist; what each question was asked with."""
    asked: list[str] = []
    real = PatchedModel.generate

    def generate(self: PatchedModel, channels: Any = None, *given: Any, **inputs: Any) -> Any:
        asked.append(",".join(sorted(channels[0])))
        return real(self, channels, *given, **inputs)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(PatchedModel, "generate", generate)
    monkeypatch.setattr(pave, "load_base", lambda name: tiny.base())
    exec(compile(code, "card", "exec"), {})
    return asked


KEYS = sorted([*OWN, "heart/pulse"])


def test_every_registered_encoder_is_tried() -> None:
    assert {f"{channel}/{name}" for channel, name in list_encoders()} == set(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_the_example_runs_as_it_is_printed(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, name = key.split("/")
    for module in (attached_module, encoders_module):
        monkeypatch.setattr(module, "make_encoder", build)
    model = PatchedModel(tiny.base())
    settings = SETTINGS.get(key, {})
    model.new_patch(
        channel, name="p", encoder=name, encoder_settings=settings, fusion={"hidden": 16}, seed=0
    )
    folder = tmp_path / "path/to/patch"
    model.save_patch(folder)
    info = describe_encoder(channel, name)
    assert info.gain and info.gain in (folder / "README.md").read_text()
    media(tmp_path, key)
    code = example(folder)
    assert ("channels=" in code) == (info.reads == "own")
    assert run(code, tmp_path, monkeypatch) == ["patch"]  # the patch had its tokens


def test_examples_of_ready_made_tokens_of_a_lora_and_of_a_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = PatchedModel(tiny.base())
    tiny_patch.add(model, "smell", name="below")
    tiny_patch.add(model, None, name="control")
    tiny_patch.add(model, "audio", name="top", base_patches=["below"])
    for name in ("below", "control", "top"):
        model.save_patch(tmp_path / "path/to" / name, name)
    media(tmp_path, "")
    for name, asked in (("below", "below"), ("control", ""), ("top", "top")):
        code = example(tmp_path / "path/to" / name)
        assert run(code, tmp_path, monkeypatch) == [asked]
        monkeypatch.undo()
    card = (tmp_path / "path/to/top/README.md").read_text()
    digest = read_config(tmp_path / "path/to/below").files["fusion.safetensors"]
    assert f"| base patch 1 | below (smell), sha256 {digest[:12]}..., its LoRA frozen |" in card


@pytest.mark.parametrize(
    ("name", "hub"),
    [
        ("llava-hf/llava-onevision-qwen2-7b-ov-hf", True),
        ("models/llava", False),
        ("./models", False),
        ("../models/llava", False),
        ("/models/llava", False),
        ("smol", False),
        ("a/b/c", False),
    ],
)
def test_only_what_is_on_the_hub_is_called_the_base_model(
    name: str, hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models/llava").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = tiny_patch.alone("p", "audio").config
    base = BaseId(name=name, fingerprint={})
    card = make_card(config.model_copy(update={"base": base, "lora": LoraSpec()}), "p")
    assert (f"base_model: {name}\n" in card) == hub
