"""The authors' state dicts: their fusion weights by their names, read without running any code.

A checkpoint's fusion weights lie in `non_lora_trainables.bin` (with a LoRA beside it) or in
`mm_projector.bin` (without), among other modules' tensors and behind prefixes that differ from file
to file. Checkpoints with two side channels hold two aggregators.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from pave.channels.plain import NotPlainError, read_plain
from pave.errors import PatchError
from pave.files import regular_file
from pave.fusion import Fusion, FusionConfig

FILES = ("non_lora_trainables.bin", "mm_projector.bin")
Part = Literal["temporal_aggregator", "temporal_aggregator2"]
PARTS: tuple[Part, ...] = ("temporal_aggregator", "temporal_aggregator2")
_NAMED = 8
"""So many problems of a state dict are named; the others are counted."""

# Our parameter names -> theirs.
_NAMES = (
    (r"^side_map\.", "input_mapping."),
    (r"^query_map\.", "query_input_mapping."),
    (r"^learnt_query$", "learnable_query"),
    # query.weight -> q_linear.weight, and likewise for key and value
    (r"^blocks\.(\d+)\.attention\.([qkv])\w+\.", r"cross_attn_layers.\1.attn.\2_linear."),
    (r"^blocks\.(\d+)\.mlp\.", r"cross_attn_layers.\1.ffn."),
    (r"^output\.", "output_mapping."),
    (r"^norm\.", "output_norm."),
    (r"^markers$", "start_end_tokens"),
)


def load_fusion(
    source: Mapping[str, Tensor] | str | Path,
    config: FusionConfig,
    part: Part = "temporal_aggregator",
) -> Fusion:
    """A fusion with the authors' weights, in float32.

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
    state, where = _opened(source)
    found = select(state, part)
    if not found:
        raise PatchError(f"{where} holds no {part!r}; its keys begin with {first_keys(state)}")
    problems = misfits(found, config)
    if problems:
        listed = "; ".join(problems[:_NAMED])
        if len(problems) > _NAMED:
            listed += f"; and {len(problems) - _NAMED} more"
        raise PatchError(
            f"{where} does not fit the config: {listed}; check that it was made with this config"
        )
    fusion = Fusion(config)
    # Strictly: after `misfits` a difference would be a fault of the table of names above.
    # Released weights are bf16, and their own evaluation copies them into float32 as well.
    renamed = {ours: found[authors_name(ours)].float() for ours in fusion.state_dict()}
    fusion.load_state_dict(renamed, strict=True)
    return fusion


def authors_name(name: str) -> str:
    """The authors' name of one of `Fusion`'s parameters, without prefix.

    Example:
        >>> authors_name("blocks.1.attention.key.weight")
        'cross_attn_layers.1.attn.k_linear.weight'
    """
    for ours, theirs in _NAMES:
        renamed, hits = re.subn(ours, theirs, name)
        if hits:
            return renamed
    raise PatchError(f"the fusion parameter {name!r} has no counterpart in the authors' files")


def read_state(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a file or from a checkpoint folder's weights, without running its code.

    Raises:
        PatchError: If there is none, or it holds anything but tensors.
    """
    if path.is_dir():
        # Where neither is there, the message below names the first.
        path = first_file(path, FILES) or path / FILES[0]
    if not path.exists():
        raise PatchError(f"{path} is missing; an official checkpoint has {' or '.join(FILES)}")
    regular_file(path, PatchError, "a file of weights")
    try:
        state = read_plain(path)
    except NotPlainError as error:
        raise PatchError(
            f"{path} cannot be read as a plain file of tensors ({error}); download it again, or "
            "save only its tensors"
        ) from error
    if not isinstance(state, Mapping):
        raise PatchError(
            f"{path} holds a {type(state).__name__}, not a dictionary of tensors by name"
        )
    if not all(isinstance(key, str) for key in state):
        raise PatchError(
            f"{path} holds names that are not strings; expected a dictionary of tensors by name"
        )
    return state


def first_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that a folder has."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    return None


def first_keys(state: Mapping[str, Tensor]) -> str:
    """The first keys of a state dict in words, for messages."""
    return ", ".join(list(state)[:3]) or "nothing"


def select(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """One aggregator's tensors by their names inside it; empty if there is none."""
    # Up to the dot, since the name of one part begins like the other's.
    prefix = re.compile(rf"^(?:base_model\.)?(?:model\.)*{part}\.")
    found = {}
    for key, value in state.items():
        if prefix.match(key):
            found[prefix.sub("", key)] = value
    if found:
        return found
    bare = any(key.startswith(("input_mapping.", "cross_attn_layers.")) for key in state)
    if bare:  # a state dict of the aggregator itself, without a prefix
        return dict(state)
    return {}


def misfits(found: Mapping[str, Tensor], config: FusionConfig) -> list[str]:
    """All that keeps one aggregator's tensors from being those of a config; empty if they fit.

    Args:
        found: Tensors by their names inside the aggregator, from `select`.
        config: What they should be.
    """
    expected = _expected(config)
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    for key, shape in expected.items():
        if key not in found:
            continue
        fault = _fault(found[key], shape)
        if fault:
            problems.append(f"{key} {fault}")
    return problems


def side_from_batch(features: Tensor, frames: Sequence[int] | Tensor) -> list[Tensor]:
    """Side tokens `[T, S, C]` of each clip from the authors' padded batch.

    Args:
        features: `[B, C, T, H, W]`, padded with zeros behind each clip.
        frames: `[B]`, the clips' true lengths.
    """
    clips = []
    for clip, length in zip(features, frames, strict=True):
        spread = clip[:, : int(length)].flatten(2)  # [C, T, S]
        clips.append(spread.permute(1, 2, 0))
    return clips


def _opened(source: Mapping[str, Tensor] | str | Path) -> tuple[Mapping[str, Tensor], str]:
    """A state dict, and what to call it in an error."""
    if isinstance(source, str | Path):
        return read_state(Path(source)), str(source)
    return source, "the state dict"


def _expected(config: FusionConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a config, by the authors' names."""
    with torch.device("meta"):  # shapes without numbers
        state = Fusion(config).state_dict()
    # The names keep the order of the module, in which problems are then listed.
    return {authors_name(name): tuple(tensor.shape) for name, tensor in state.items()}


def _fault(tensor: Any, shape: Sequence[int]) -> str:
    """What is wrong with one tensor; empty if nothing."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        return "is not a tensor of floats"
    if tuple(tensor.shape) != tuple(shape):
        return f"has shape {list(tensor.shape)}, the config needs {list(shape)}"
    if not bool(torch.isfinite(tensor).all()):
        return "holds NaN or infinity"
    return ""
