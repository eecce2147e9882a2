"""A patch folder from elsewhere: its sizes, types and paths are checked before anything is taken.

Every folder here is consistent by its hashes, as whoever made it would see to.
"""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import pave
from helpers import tinyrun
from pave.channels.weights import check_places
from pave.errors import ChannelError, PatchError, PaveError
from pave.model import PatchedModel

SPARE = 2 << 30
"""Bytes that the process may take beside what it has: far below what the folders ask for."""


@pytest.fixture
def made(tmp_path: Path) -> tinyrun.Run:
    return tinyrun.make(tmp_path, clips=1, questions=1)


@pytest.fixture
def bounded():
    """Memory far beyond the need of a patch fails instead of filling the machine."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + SPARE, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def edit(
    folder: Path, change: Callable[[dict[str, Any]], object], name: str = "patch.json"
) -> None:
    """Change a JSON file of the folder, and the hashes."""
    content = json.loads((folder / name).read_text())
    change(content)
    (folder / name).write_text(json.dumps(content))
    rehash(folder)


def rehash(folder: Path) -> None:
    """Make patch.json agree with the files."""
    manifest = json.loads((folder / "patch.json").read_text())
    for name in manifest["files"]:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        manifest["files"][name] = digest
    (folder / "patch.json").write_text(json.dumps(manifest))


def load(made: tinyrun.Run) -> PatchedModel:
    model = PatchedModel(pave.load_base(made.base))
    model.load_patch(made.patch, name="p")
    return model


def test_a_rank_that_the_file_does_not_have(made, bounded):
    edit(made.patch, lambda content: content["lora"].update(rank=65536))
    edit(made.patch, lambda content: content.update(r=65536), "lora/adapter_config.json")
    with pytest.raises(PatchError, match=r"does not fit the LoRA of rank 65536 in patch.json"):
        load(made)


@pytest.mark.parametrize("field, value", [("hidden", 2**20), ("layers", 1000)])
def test_a_fusion_that_the_file_does_not_have(made, bounded, field, value):
    edit(made.patch, lambda content: content["fusion"].update({field: value}))
    with pytest.raises(PaveError):
        load(made)


@pytest.mark.parametrize("rate", [16_000, 192_000])
def test_a_spectrum_every_sample(made, bounded, rate):
    sample = 1 / rate
    settings = {"rate": rate, "n_mels": 1, "bins": 1, "hop": sample, "window": 10.0, "f_min": 0}
    for step in (sample, 0.2):
        more = {"step": step, "width": step}
        edit(made.patch, lambda content, s=settings | more: content["encoder"].update(settings=s))
        model = load(made)
        with pytest.raises(ChannelError, match=r"step|hours and gigabytes"):
            model.ask(made.loud, "Hm?", frames=2, max_new_tokens=1)


@pytest.mark.parametrize("place", ["inputs", ""])
def test_frames_by_the_hundred_thousand(made, place):
    def change(content: dict[str, Any]) -> None:
        inner = content[place] if place else content
        inner["frames"] = 400_000

    edit(made.patch, change)
    with pytest.raises(PatchError, match=r"frames: .*(less than or equal to 4096|at most 4,096)"):
        load(made)


@pytest.mark.parametrize("name", ["fusion.safetensors", "lora/adapter_model.safetensors"])
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_weights_of_too_few_bits(made, name, dtype):
    tensors = {key: value.to(dtype) for key, value in load_file(made.patch / name).items()}
    save_file(tensors, made.patch / name)
    rehash(made.patch)
    with pytest.raises(
        PatchError, match=r"holds torch\.\w+, not floating-point numbers of 16 bits"
    ):
        load(made)


def test_an_encoder_reads_only_below_the_weights_folder(made, tmp_path, monkeypatch):
    (tmp_path / "weights" / "ast").mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.mkdir()
    monkeypatch.chdir(tmp_path)
    cases = [str(secret), "weights/../secret", "../x", "weights/ast"]
    for model in cases:
        settings = {"name": "ast", "settings": {"model": model}}
        edit(made.patch, lambda content, s=settings: content.update(encoder=s))
        patched = load(made)
        with pytest.raises(
            ChannelError, match=r"its encoder's model is the path .* set PAVE_WEIGHTS"
        ):
            patched.ask(made.loud, "Hm?", frames=2, max_new_tokens=1)
    # Below the folder it is read, and found wanting by the encoder itself.
    monkeypatch.setenv("PAVE_WEIGHTS", str(tmp_path / "weights"))
    with pytest.raises(ChannelError, match="audio/ast cannot load"):
        patched.ask(made.loud, "Hm?", frames=2, max_new_tokens=1)


def test_paths_deep_in_the_settings_are_looked_at(tmp_path: Path) -> None:
    """An encoder of a package may take lists and objects."""
    for settings in ({"models": ["ours", "/etc/passwd"]}, {"parts": {"a": [{"b": "../x"}]}}):
        with pytest.raises(ChannelError, match="is the path"):
            check_places(settings, "p")
    check_places({"models": ["ours", 3], "parts": {"a": None}}, "p")
