"""What a vLLM serves: the base without its weights, and the patches' fusions and encoders."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pave.bases import Base, load_base
from pave.bases.families.llava_onevision import LlavaOnevision
from pave.bases.inputs import FrameWord
from pave.channels import make_encoder
from pave.channels.registry import needs_tower
from pave.channels.weights import check_places
from pave.errors import ConfigError
from pave.patches.folder import read_folder
from pave.patches.parts import Part, fusion_of, parts_of
from pave.vllm import BASE, MODELS, PATCHES

TOWERS = ("clip_vision_model", "siglip_vision_model")
"""Towers that vLLM has; the one of `smol` is not among them."""
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # that vLLM has kernels for


@dataclass(frozen=True)
class ServedPatch:
    """One patch.

    Attributes:
        rank: Of its LoRA.
        frames: Of a clip in its training; None where nobody knows.
        part: Its channel with the fusion; None for a LoRA alone.
    """

    rank: int
    frames: FrameWord | None
    part: Part | None


@dataclass(frozen=True)
class Served:
    """A base and its patches.

    Attributes:
        base: On the meta device: vLLM holds the weights.
        patches: By name.
    """

    base: Base
    patches: dict[str, ServedPatch]

    @property
    def architecture(self) -> str:
        """What vLLM calls our class for this base."""
        return MODELS[self.base.family.name][1]

    def number(self, name: str | None) -> int:
        """The place of a patch among all of them, which goes through vLLM as a number; -1: none."""
        if name is None:
            return -1
        return list(self.patches).index(name)

    def tokens(self, frames: int) -> int:
        """Visual tokens of a clip of so many frames, of LLaVA-OneVision."""
        family = self.base.family
        assert isinstance(family, LlavaOnevision)  # others have a grid
        return family.layout(frames).total

    def frames(self, name: str | None) -> FrameWord:
        """How many frames a request takes: as its patch was trained, else the base's own number."""
        usual: FrameWord = self.base.settings.frames
        if name is None:
            return usual
        trained = self.patches[name].frames
        return usual if trained is None else trained


@cache
def served() -> Served:
    """What the environment names, loaded once a process.

    Raises:
        PaveError: If the base or a patch cannot be served so; the message says why.
    """
    patches = {name: Path(folder) for name, folder in json.loads(os.environ[PATCHES]).items()}
    return load_served(os.environ[BASE], patches)


def serving(base: str, patches: Mapping[str, Path]) -> dict[str, Any]:
    """Set this process up for a vLLM of its own; the arguments of `vllm.LLM`.

    Args:
        base: The base's folder.
        patches: Name -> folder.

    Raises:
        PaveError: If the base or a patch cannot be served so.

    Example:
        >>> llm = vllm.LLM(**serving("base", {"sound": Path("patch")}))  # doctest: +SKIP
    """
    os.environ.update(environment(base, patches))
    served.cache_clear()
    ranks = [one.rank for one in served().patches.values()]
    most, rank = lora_limits(ranks)
    return {
        "model": base,
        "hf_overrides": {"architectures": [served().architecture]},
        "enable_lora": True,
        "max_loras": most,
        "max_lora_rank": rank,
    }


def environment(base: str, patches: Mapping[str, Path]) -> dict[str, str]:
    """The variables that every process of vLLM needs."""
    folders = {name: str(folder.resolve()) for name, folder in patches.items()}
    return {BASE: base, PATCHES: json.dumps(folders)}


def lora_limits(ranks: Sequence[int]) -> tuple[int, int]:
    """How many LoRAs vLLM must hold at a time for patches of these ranks, and of which rank."""
    # One more than patches: a request without one takes the last place on CPUs.
    most = len(ranks) + 1
    largest = max(ranks, default=1)
    for allowed in _RANKS:
        if largest <= allowed:
            return most, allowed
    raise ConfigError(f"a LoRA of rank {largest} is larger than vLLM takes ({_RANKS[-1]})")


def load_served(folder: str, patches: Mapping[str, Path]) -> Served:
    """A base and its patches, without the base's weights.

    Raises:
        PaveError: If vLLM cannot serve them so.
    """
    base = load_base(folder, weights=False)
    if not _has_a_class(base):
        raise ConfigError(
            f"{folder}: only LLaVA-OneVision, Qwen2-VL, and Qwen2.5-VL in Hugging Face's layout "
            "can be served by vLLM with patches; use --engine transformers"
        )
    return Served(base, {name: _patch(base, name, one) for name, one in patches.items()})


def _has_a_class(base: Base) -> bool:
    """Whether one of `MODELS` is for this base."""
    family = base.family
    if isinstance(family, LlavaOnevision):
        return family.native and base.config.vision_config.model_type in TOWERS
    return family.name in MODELS


def _patch(base: Base, name: str, folder: Path) -> ServedPatch:
    """One patch as vLLM serves it.

    Raises:
        ConfigError: If vLLM cannot serve a patch of its kind.
    """
    files = read_folder(folder, base)
    config = files.config
    instead = "use --engine transformers"
    if len(config.parts) > 1 or config.base_patches:
        raise ConfigError(
            f"patch '{name}': vLLM has one LoRA a request, so patches of several channels and "
            f"patches on top of others do not go there; {instead}"
        )
    if not config.inputs.native:
        raise ConfigError(f"patch '{name}': feeds the base in another layout; {instead}")
    if config.lora is None:
        raise ConfigError(f"patch '{name}': has no LoRA, by which vLLM would know it; {instead}")
    fusion = fusion_of(config)
    part = None
    if fusion is not None:
        fusion.load_state_dict({key: value.float() for key, value in files.fusion.items()})
        fusion.requires_grad_(False)
        (part,) = parts_of(name, config, fusion.eval()).values()
        if part.gate is not None:
            raise ConfigError(
                f"patch '{name}': has a question gate, and vLLM adds what a patch says before it "
                f"has read the question; {instead}"
            )
        part.encoder = _encoder(name, part, instead)
    return ServedPatch(config.lora.rank, config.frames, part)


def _encoder(name: str, part: Part, instead: str) -> Any:
    """What makes the channel's tokens, in the process that reads clips."""
    spec = part.spec.encoder
    if spec is None or needs_tower(part.channel, spec.name):
        raise ConfigError(
            f"patch '{name}': its {part.channel} tokens come ready-made or from the base's tower, "
            f"which vLLM's readers of clips do not have; {instead}"
        )
    check_places(spec.settings, name)
    return make_encoder(part.channel, spec.name, spec.settings)
