"""The authors' tiny checkpoint, converted, on the base of the same weights.

`tests/data/official` holds a base, two checkpoints and data in the authors' formats, and what their
code computes from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pave.bases import Base, load_base
from pave.cache import TokenCache
from pave.channels import Encoder, make_encoder
from pave.data import Features
from pave.media import Uniform, read_frames
from pave.model import PatchedModel
from pave.paper import convert
from pave.paper.annotations import read_annotations

ROOT = Path(__file__).parents[1] / "data" / "official"
BASE = ROOT / "tiny-llava-onevision-qwen2"
DATA = ROOT / "data"
FACTS: dict[str, Any] = json.loads((ROOT / "goldens.json").read_text())
KWARGS: dict[str, Any] = FACTS["aggregator_kwargs"]
FRAMES = 6


def goldens() -> dict[str, Tensor]:
    """What the authors' code computed."""
    return load_file(ROOT / "goldens.safetensors")


def base() -> Base:
    """The base, read in LLaVA's naming, in float32."""
    return load_base(BASE, dtype="float32")


def encoder(channel: str = "audio") -> Encoder:
    """The reader of the tiny feature files."""
    return make_encoder(channel, "official", {"dim": 10})


def converted(folder: Path, name: str = "pave_tiny_lora") -> Path:
    """One of the checkpoints as a patch folder."""
    convert(ROOT / name, load_base(BASE, weights=False), KWARGS, folder, channel="audio")
    return folder


def model(folder: Path, trainable: bool = False) -> PatchedModel:
    """The base with a converted patch."""
    patched = PatchedModel(base())
    patched.load_patch(folder, name="authors", trainable=trainable)
    return patched


def records() -> Any:
    """The annotation file through its mapping files."""
    return read_annotations(
        DATA / "anno.json",
        channel="audio",
        features=DATA / "fast.json",
        videos=DATA / "slow.json",
        feature_root=DATA / "feat",
        video_root=DATA / "vid",
    )


def features(patched: PatchedModel, folder: Path) -> Features:
    """The clips' cached tokens."""
    return Features(patched.base, {"audio": encoder()}, TokenCache(folder), frames=FRAMES)


def clip(patched: PatchedModel, video: str) -> Any:
    """A decoded clip."""
    return patched.base.clip(read_frames(DATA / "vid" / video, Uniform(FRAMES)))


def without_placeholders(ids: Any, placeholder: int) -> list[int]:
    """Ids with the run of placeholders as the authors' one -200."""
    short: list[int] = []
    for token in [int(token) for token in ids]:
        token = -200 if token == placeholder else token
        if token != -200 or short[-1:] != [-200]:
            short.append(token)
    return short


def close(found: Tensor, wanted: Tensor, atol: float = 1e-4) -> None:
    """Equal within the promised tolerance."""
    torch.testing.assert_close(found.float(), wanted.float(), atol=atol, rtol=0)
