"""The authors' state dicts: their fusion weights by their names, read without running any code."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pave.channels.plain import NotPlain, read_plain
from pave.errors import PatchError
from pave.fusion import Fusion, FusionConfig

FILES = ("non_lora_trainables.bin", "mm_projector.bin")
Part = Literal["temporal_aggregator", "temporal_aggregator2"]
PARTS: tuple[Part, ...] = ("temporal_aggregator", "temporal_aggregator2")

# Our parameter names -> theirs.
_NAMES = (
    (r"^side_map\.", "input_mapping."),
    (r"^query_map\.", "query_input_mapping."),
    (r"^learnt_query$", "learnable_query"),
    (r"^blocks\.(\d+)\.attention\.([qkv])\w+\.", r"cross_attn_layers.\1.attn.\2_linear."),
    (r"^blocks\.(\d+)\.mlp\.", r"cross_attn_layers.\1.ffn."),
    (r"^output\.", "output_mapping."),
    (r"^norm\.", "output_norm."),
    (r"^markers$", "start_end_tokens"),
)


def load_fusion(
    source: Mapping[str, Tensor] | str | Path,
    config: FusionConfig,
    part: Literal["temporal_aggregator", "temporal_aggregator2"] = "temporal_aggregator",
) -> Fusion:
    """A fusion with the authors' weights, in float32 (their evaluation copies bf16 weights into a float32 module, too).

    Args:
        source: A state dict, or the path of `non_lora_trainables.bin`, `mm_projector.bin` or a
            folder with one of them. Keys may have any of the authors' prefixes, or none. Keys of
            other modules are passed over.
        config: From `fusion_config`.
        part: Which aggregator, in checkpoints with two side channels.

    Raises:
        PatchError: If the file cannot be read safely, holds no such aggregator, or a tensor is
            missing, unexpected, of the wrong shape or not finite. (The authors' loader passes over
            all of these in silence.)
    """
    state = read_state(Path(source)) if isinstance(source, str | Path) else source
    where = str(source) if isinstance(source, str | Path) else "the state dict"
    found = select(state, part)
    if not found:
        raise PatchError(
            f"{where} holds no {part!r}; its keys begin with "
            f"{', '.join(map(str, list(state)[:3])) or 'nothing'}"
        )
    fusion = Fusion(config)
    expected = _expected(config)
    problems = misfits(found, config)
    if problems:
        more = f"; and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise PatchError(
            f"{where} does not fit the config: {'; '.join(problems[:8])}{more}. Was it made with "
            "another config?"
        )
    fusion.load_state_dict(
        {name: found[key].float() for key, (name, _) in expected.items()}, strict=True
    )
    return fusion


def official_name(name: str) -> str:
    """The authors' name of one of `Fusion`'s parameters, without prefix.

    Example:
        >>> official_name("blocks.1.attention.key.weight")
        'cross_attn_layers.1.attn.k_linear.weight'
    """
    for ours, theirs in _NAMES:
        renamed, hits = re.subn(ours, theirs, name)
        if hits:
            return renamed
    raise PatchError(f"the fusion parameter {name!r} has no counterpart in the authors' files")


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file or from the weights file of a checkpoint folder, never by running pickled code.

    Raises:
        PatchError: If there is none, or it holds anything but tensors.
    """
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    if not path.is_file():
        raise PatchError(f"{path} is missing; an official checkpoint has {' or '.join(FILES)}")
    try:
        state = read_plain(path)
    except NotPlain as error:
        raise PatchError(
            f"{path} cannot be read as a plain file of tensors ({error}); fetch it again, or save "
            "its tensors alone"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        what = (
            "names that are no text" if isinstance(state, Mapping) else f"a {type(state).__name__}"
        )
        raise PatchError(f"{path} holds {what}, not a dictionary of tensors by name")
    return state


def misfits(found: Mapping[str, Tensor], config: FusionConfig) -> list[str]:
    """All that keeps one aggregator's tensors (by their names inside it) from being those of a config; empty if they fit."""
    expected = _expected(config)
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    for key, (_, shape) in expected.items():
        if key in found:
            problems += _faults(key, found[key], shape)
    return problems


def _expected(config: FusionConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Their name -> our name and the shape, for every tensor of a config."""
    with torch.device("meta"):
        state = Fusion(config).state_dict()
    return {official_name(name): (name, tuple(tensor.shape)) for name, tensor in state.items()}


def select(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One aggregator's tensors by their names inside it. Note that one part's name begins like the other's."""
    prefix = re.compile(rf"^(?:base_model\.)?(?:model\.)*{part}\.")
    found = {prefix.sub("", key): value for key, value in state.items() if prefix.match(key)}
    if not found and any(key.startswith(("input_mapping.", "cross_attn_layers.")) for key in state):
        return dict(state)
    return found


def _faults(key: str, tensor: Any, shape: Sequence[int]) -> list[str]:
    """What is wrong with one tensor."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return [f"{key} is no tensor of floats"]
    if tuple(tensor.shape) != tuple(shape):
        return [f"{key} has shape {list(tensor.shape)}, the config needs {list(shape)}"]
    return [] if bool(torch.isfinite(tensor).all()) else [f"{key} holds NaN or infinity"]


def side_from_batch(features: Tensor, frames: Sequence[int] | Tensor) -> list[Tensor]:
    """Side tokens `[T, S, C]` of each clip from the authors' padded batch `[B, C, T, H, W]` and its true lengths `[B]`."""
    return [
        clip[:, : int(n)].flatten(2).permute(1, 2, 0)
        for clip, n in zip(features, frames, strict=True)
    ]
