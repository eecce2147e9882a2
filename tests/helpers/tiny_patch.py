"""Patches for tests: small ones on tiny bases, and side channels for their clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from helpers import tiny
from pave.bases import Base, Clip, Visual
from pave.fusion import FusionConfig
from pave.model import PatchedModel
from pave.patches import BaseId, LoraSpec, PatchConfig
from pave.patches.gates import question_vectors
from pave.patches.lora import Lora
from pave.patches.parts import fusion_of
from pave.patches.patch import Patch
from pave.tokens import Tokens

DIM = 6


def tokens(
    steps: int = 5, spread: float = 2.0, seed: int = 0, dim: int = DIM, cells: int = 1
) -> Tokens:
    """`steps` random tokens over `spread` seconds."""
    generator = torch.Generator().manual_seed(seed)
    times = (torch.arange(steps, dtype=torch.float64) + 0.5) * spread / max(steps, 1)
    return Tokens(torch.randn(steps, cells, dim, generator=generator), times)


def add(
    model: PatchedModel,
    channel: str | None = "audio",
    *,
    awake: bool = True,
    seed: int = 1,
    **options: Any,
) -> str:
    """A small patch with fusion and LoRA; awake: with random weights, which change something."""
    if channel is not None:
        options.setdefault("encoder", None)
        options["fusion"] = {"side_dim": DIM, "hidden": 16, **options.get("fusion", {})}
    name = model.new_patch(channel, seed=seed, **{"lora": LoraSpec(rank=2, alpha=4), **options})
    if awake:
        wake(model, name, seed)
    return name


def wake(model: PatchedModel, name: str, seed: int = 1) -> None:
    """Give a patch random weights, as if it had been trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.trainable_parameters().items():
            if key.startswith(f"{name}."):
                parameter.normal_(0, 0.2, generator=generator)


def shake(model: PatchedModel, seed: int = 0, scale: float = 0.3) -> None:
    """Add random numbers to all weights that train; a fresh patch would change nothing."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.add_(noise.to(parameter.device))


def divide(model: PatchedModel, name: str, opens: str, closes: str) -> None:
    """Set a patch's question gate, so that it lies half-way between two questions."""
    (part,) = model.patches[name].parts.values()
    assert part.gate is not None
    one, other = question_vectors(model.base, [opens, closes])
    with torch.no_grad():
        part.gate.weight.copy_(one - other)
        part.gate.bias.copy_(-(one - other) @ (one + other) / 2)


def alone(
    name: str,
    channel: str | None,
    fusion: nn.Module | None = None,
    lora: Lora | None = None,
    weight: float = 1.0,
) -> Patch:
    """A patch by itself, without a base."""
    settings = None if channel is None else FusionConfig(side_dim=DIM, query_dim=3, out_dim=4)
    config = PatchConfig(
        pave_version="0",
        base=BaseId(name="none", fingerprint={}),
        channel=channel,
        fusion=settings,
        lora=LoraSpec(),
    )
    return Patch(name, config, fusion or fusion_of(config), lora, weight=weight)


def lora_of(name: str, channel: str | None) -> Patch:
    """A patch by itself with a LoRA on no layer at all."""
    return alone(name, channel, lora=Lora(name, LoraSpec(), {}))


@dataclass
class Case:
    """A patched tiny base with a batch of two clips, and what the plain base says to it."""

    model: PatchedModel
    inputs: dict[str, Tensor]
    clips: list[Clip]
    side: list[dict[str, Tokens]]
    logits: Tensor
    awake: bool = False

    def wake(self) -> None:
        """Give all patches random weights, once."""
        if not self.awake:
            for name in self.model.patches:
                wake(self.model, name)
        self.awake = True

    @property
    def base(self) -> Base:
        """The base."""
        return self.model.base

    @property
    def times(self) -> list[Tensor]:
        """Times of each clip's token steps."""
        return [clip.times for clip in self.clips]

    def run(self, side: Any = "own", **options: Any) -> Tensor:
        """Logits with the case's channels, or with others."""
        side = self.side if side == "own" else side
        with torch.no_grad():
            result: Tensor = self.model(side, self.times, **{**self.inputs, **options}).logits
        return result

    def visuals(self) -> list[Visual]:
        """The clips' visual tokens, as a cache holds them."""
        return self.base.visual(self.clips)

    def light(self) -> dict[str, Tensor]:
        """The inputs without pixels."""
        return {key: value for key, value in self.inputs.items() if key != self.base.family.pixels}


def ragged(family: str) -> tuple[int, int]:
    """Frames of two clips: of different lengths where the family can batch them."""
    return (4, 4) if family in tiny.ONE_LENGTH else (4, 6)


def case(
    family: str = "llava_onevision",
    dtype: torch.dtype = torch.float32,
    counts: tuple[int, int] | None = None,
) -> Case:
    """A case without any patch yet."""
    base = tiny.base(family)
    base.model.to(dtype)
    counts = counts or ragged(family)
    clips, inputs = tiny.clips(base, counts), tiny.inputs(base, counts)
    with torch.no_grad():
        logits = base.model(**inputs).logits
    side = [{"audio": tokens(5, seed=3)}, {"audio": tokens(3, seed=4)}]
    return Case(PatchedModel(base), inputs, clips, side, logits)
