"""`combine_patches`: several patches of one base joined to one folder.

Each channel keeps its own fusion. What is joined are the LoRAs: each stays its channel's, or peft
makes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor

from pave.bases import Base
from pave.errors import PatchError
from pave.patches.config import ChannelSpec, LoraSpec
from pave.patches.folder import PatchFiles, read_folder, write_folder
from pave.patches.lora import in_channel
from pave.patches.new import DROPPED, channel_fields, saved_config
from pave.seeds import seeded

How = Literal["apart", "cat", "linear", "ties", "dare", "svd"]

_IN_PEFT = {"cat": "cat", "linear": "linear", "ties": "ties", "dare": "dare_linear", "svd": "svd"}
"""What peft's `add_weighted_adapter` calls each way."""
_WITH_DENSITY = ("ties", "dare")
_ANY_RANK = ("cat", "svd")


@dataclass(frozen=True)
class Joining:
    """How LoRAs become one.

    Attributes:
        how: apart (each works where its channel is), or as peft joins them: cat (stacked, so the
            update is exactly the sum), linear (sums of A and of B), ties, dare, svd.
        density: Share of the weights that ties and dare keep.
        seed: Of the weights that dare drops.
    """

    how: How
    density: float = 0.5
    seed: int = 0


def combine_patches(
    folders: Sequence[str | Path],
    out: str | Path,
    base: Base,
    how: How | None = None,
    *,
    density: float = 0.5,
    seed: int = 0,
) -> Path:
    """Join patches of one base to one, which keeps the fusion of each.

    Args:
        folders: Two patch folders or more, of different channels or none.
        out: Where the new patch goes; new, empty, or an older patch.
        base: The base that they are for, without a patch on it.
        how: See `Joining`; "apart" for patches with channels and "cat" for others when not given.
        density: See `Joining`.
        seed: See `Joining`.

    Raises:
        PatchError: If two have one channel, one is for another base or another prompt, was trained
            on top of another or is damaged, or their LoRAs cannot be joined so.

    Example:
        >>> combine_patches(["runs/a/patch", "runs/b/patch"], "both", base)  # doctest: +SKIP
        PosixPath('both')
    """
    places = list(map(Path, folders))
    if len(places) < 2:
        raise PatchError("name two patches or more to combine")
    parts: list[PatchFiles] = []
    specs: dict[str, ChannelSpec] = {}
    for place in places:
        part = read_folder(place, base)
        parts.append(part)
        specs.update(part.config.parts)
    _must_fit_together(places, parts)
    if how is None:
        how = "cat"
        if specs:  # what loses nothing
            how = "apart"
    # Everything is read and checked by now; the disk is touched at the end.
    about = _words(parts)
    lora: dict[str, Tensor] = {}
    if how == "apart":
        specs = _apart(places, parts, lora)
        about["lora"] = DROPPED
    else:
        about["lora"] = _joined(base, places, parts, Joining(how, density, seed), lora)
    if len(specs) > 1:  # they take the place of what a single one says
        about |= dict.fromkeys(("channel", "encoder", "fusion"), DROPPED)
    about |= channel_fields(specs)
    # The rest is the first one's: base, prompt, inputs, chat format.
    config = saved_config(parts[0].config, about)
    fusion = _fusions(parts, several=len(specs) > 1)
    if config.dtype == "fp32":  # some may have been stored in half of it
        for tensors in (fusion, lora):
            for key, tensor in tensors.items():
                tensors[key] = tensor.float()
    write_folder(Path(out), PatchFiles(config, fusion, lora), base)
    return Path(out)


def _words(parts: Sequence[PatchFiles]) -> dict[str, Any]:
    """What is said of the new patch: what all say alike, and nothing that was measured before."""
    about: dict[str, Any] = dict.fromkeys(("probe", "example", "scores", "training"), DROPPED)
    datasets = {}
    tasks: dict[str, None] = {}
    first = parts[0].config
    for part in parts:
        config = part.config
        if config.licence != first.licence:
            about["licence"] = DROPPED  # which of them holds for all is not ours to say
        if config.dtype != first.dtype:
            about["dtype"] = "fp32"
        # Each once, in the order of the patches.
        for data in config.datasets:
            datasets[data.name] = data.model_dump()
        if config.task:
            tasks.setdefault(config.task)
    about["datasets"] = list(datasets.values())
    about["task"] = " and ".join(tasks) or None
    return about


def _must_fit_together(places: Sequence[Path], parts: Sequence[PatchFiles]) -> None:
    """Refuse patches that one folder cannot hold."""
    first = parts[0].config
    taken: dict[str, Path] = {}  # channel -> the patch that has it
    for place, part in zip(places, parts, strict=True):
        config = part.config
        # Its base patches would have to be told from the parts.
        if config.base_patches:
            raise PatchError(
                f"{place} was trained on top of {config.base_patches[0].name}; a patch that "
                "needs another patch cannot be combined"
            )
        if config.channels:
            raise PatchError(
                f"{place} already has several channels; combine the patches that it was made of"
            )
        for channel, spec in config.parts.items():
            if spec.fusion.appends:
                raise PatchError(
                    f"{place} appends its tokens to the prompt (concat), which no other patch does"
                )
            if channel in taken:
                raise PatchError(
                    f"{taken[channel]} and {place} both have the channel {channel}, and a patch "
                    "has one fusion for each; load them side by side: --patch A --patch B"
                )
            taken[channel] = place
        # One patch is asked in one way.
        asked = (config.prompt, config.inputs, config.chat, config.frames)
        if asked != (first.prompt, first.inputs, first.chat, first.frames):
            raise PatchError(
                f"{place} was trained with another prompt, chat format, inputs or frames than "
                f"{places[0]}; such patches cannot be combined"
            )


def _fusions(parts: Sequence[PatchFiles], *, several: bool) -> dict[str, Tensor]:
    """All fusions' tensors, below their channels where there are several: see `fusion_of`."""
    found = {}
    for part in parts:
        for key, tensor in part.fusion.items():
            if several:
                found[f"{part.config.channel}.{key}"] = tensor
            else:
                found[key] = tensor
    return found


def _apart(
    places: Sequence[Path], parts: Sequence[PatchFiles], tensors: dict[str, Tensor]
) -> dict[str, ChannelSpec]:
    """The channels with a LoRA each; the tensors get theirs."""
    specs = {}
    for place, part in zip(places, parts, strict=True):
        channel = part.config.channel
        if channel is None:
            raise PatchError(
                f"{place} has no channel, so its LoRA cannot be kept apart; use --how cat"
            )
        # Of several channels each names its own LoRA, and the patch none.
        spec = part.config.parts[channel]
        specs[channel] = spec.model_copy(update={"lora": part.config.lora})
        for key, tensor in part.lora.items():
            tensors[in_channel(channel, key)] = tensor
    return specs


def _joined(
    base: Base,
    places: Sequence[Path],
    parts: Sequence[PatchFiles],
    joining: Joining,
    tensors: dict[str, Tensor],
) -> Any:
    """The shape of the joined LoRA; the tensors get its own, and the base is plain again.

    `DROPPED` where no patch has a LoRA.
    """
    _must_be_joinable(parts, joining)
    model, specs = _side_by_side(base, places, parts)
    if model is None:
        return DROPPED
    options: dict[str, Any] = {"combination_type": _IN_PEFT[joining.how]}
    if joining.how in _WITH_DENSITY:
        options["density"] = joining.density
    try:
        with seeded(joining.seed):  # dare drops weights at random
            model.add_weighted_adapter(list(specs), [1.0] * len(specs), "joined", **options)
        shape = model.peft_config["joined"]
        for key, tensor in get_peft_model_state_dict(model, adapter_name="joined").items():
            # Of their own: the model's go with it.
            tensors[key] = tensor.detach().clone()
    finally:
        model.unload()
    # peft joins the patterns of the targets; patch.json names the modules themselves.
    targets: set[str] = set()
    for spec in specs.values():
        targets |= set(spec.targets or base.family.lora_targets)
    # Scales are in the weights: peft gives the new one an alpha that makes it 1.
    joined = LoraSpec(
        rank=shape.r, alpha=shape.lora_alpha, dropout=0.0, targets=tuple(sorted(targets))
    )
    return joined.model_dump()


def _side_by_side(
    base: Base, places: Sequence[Path], parts: Sequence[PatchFiles]
) -> tuple[Any, dict[str, LoraSpec]]:
    """The base with the LoRA of every part, by peft, and its name for each -> the shape.

    The model is None where no part has a LoRA.
    """
    model: Any = None
    specs: dict[str, LoraSpec] = {}
    for place, part in zip(places, parts, strict=True):
        # A patch without a LoRA has nothing to join.
        if part.config.lora is None:
            continue
        name = f"part{len(specs)}"
        specs[name] = part.config.lora
        # The first is put around the base, the others beside it.
        if model is None:
            model = PeftModel.from_pretrained(base.model, place / "lora", adapter_name=name)
        else:
            model.load_adapter(place / "lora", adapter_name=name)
    return model, specs


def _must_be_joinable(parts: Sequence[PatchFiles], joining: Joining) -> None:
    """Refuse LoRAs that peft would not join as they are."""
    for part in parts:
        lora = part.config.lora
        if lora is None:
            continue
        # peft's joining knows one rank and one scale, and no lengths of rows.
        if lora.use_dora or lora.use_rslora or lora.rank_pattern or lora.alpha_pattern:
            raise PatchError(
                "a LoRA with use_dora, use_rslora, rank_pattern or alpha_pattern cannot be "
                "combined; load such patches side by side:  --patch A --patch B"
            )
    # Matrices of one shape are added; a patch without a LoRA has none.
    ranks = [str(part.config.lora.rank) for part in parts if part.config.lora is not None]
    if joining.how not in _ANY_RANK and len(set(ranks)) > 1:
        raise PatchError(
            f"{joining.how} needs LoRAs of the same rank, but these have {', '.join(ranks)}; use "
            "cat or svd"
        )
