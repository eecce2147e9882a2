"""LoRA-only patches for others: merged into a plain model folder, and several joined to one."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn

from pave.bases import Base
from pave.errors import PatchError
from pave.files import writing
from pave.patches.config import LoraSpec, PatchConfig
from pave.patches.fit import check_base
from pave.patches.folder import PatchFiles, check_folder, write_folder
from pave.patches.names import known_name
from pave.patches.new import DROPPED, saved_config

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

logger = logging.getLogger(__name__)

# What a base's folder holds beside its weights, which transformers would read of it.
_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
_WEIGHTS = (".safetensors.index.json", ".bin.index.json")


def export_merged(model: PatchedModel, folder: str | Path, name: str | None = None) -> Path:
    """Write a plain model folder of a base with a LoRA-only patch merged into its weights.

    transformers loads it by itself. The model stays as it is. The folder is complete or not there.

    Args:
        model: A base with the patch on it.
        folder: Where to; new or empty.
        name: Which patch; the only one when not given.

    Raises:
        PatchError: If the patch has a fusion, was trained on top of others, or is on layers without
            plain weights; if the folder is in use or cannot be written.
    """
    name = known_name(name, model.patches)
    _must_be_lora_only(model.patches[name].config, name)
    folder = Path(folder).resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PatchError(f"{folder} is in use; choose a new or empty folder")
    if not model.base.tower_loaded:
        model.base.load_tower()
    weights = _merged_weights(model, name)
    try:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            # Beside the target, so that a rename puts it in place as a whole.
            with tempfile.TemporaryDirectory(prefix=".export-", dir=folder.parent) as place:
                made = Path(place) / folder.name
                _copy_beside(model.base, made)
                model.base.tokenizer.save_pretrained(made)
                model.model.save_pretrained(made, state_dict=weights)
                if folder.exists():
                    folder.rmdir()
                made.rename(folder)
    except OSError as error:
        raise PatchError(f"cannot write the model: {error.strerror or error}") from error
    return folder


def _must_be_lora_only(config: PatchConfig, name: str) -> None:
    """Refuse what a plain model cannot hold."""
    if config.fusion is not None:
        raise PatchError(
            f"patch '{name}' has a fusion for the channel {config.channel}, which only pave reads; "
            "use it with pave, or its lora/ folder alone with peft"
        )
    if config.base_patches:
        raise PatchError(
            f"patch '{name}' was trained on top of {config.base_patches[0].name}; a patch that "
            "needs another one cannot stand alone"
        )


@torch.no_grad()
def _merged_weights(model: PatchedModel, name: str) -> dict[str, Tensor]:
    """The plain model's state dict, with the update in it."""
    weights: dict[str, Tensor] = {}
    for key, tensor in model.model.state_dict().items():
        # peft wraps the layers that it adapts; other patches' LoRAs are left out.
        if ".lora_" not in key:
            weights[key.replace(".base_layer.", ".")] = tensor
    for path, layer in model.loras.layers.items():
        if name not in layer.lora_A:
            continue
        plain = layer.get_base_layer()
        if type(plain) is not nn.Linear:
            raise PatchError(
                f"{path} is a {type(plain).__name__}, which has no plain weights to merge into; "
                "load the base without --quantize"
            )
        update = layer.get_delta_weight(name)  # [out, in], alpha / rank in it
        # Summed in fp32 and rounded once.
        merged = plain.weight.float() + update.float()
        weights[f"{path}.weight"] = merged.to(plain.weight.dtype)
    return weights


def _copy_beside(base: Base, folder: Path) -> None:
    """Copy what lies beside the base's weights: processors and templates."""
    folder.mkdir()
    source = None if base.origin is None else Path(base.origin.source)
    if source is None or not source.is_dir():
        logger.warning(
            "the files of %s's processor are not here, so %s gets only weights and tokenizer; take "
            "the processor from the base",
            base.name,
            folder.name,
        )
        return
    for pattern in _BESIDE:
        for file in source.glob(pattern):
            if not file.name.endswith(_WEIGHTS):
                shutil.copy(file, folder / file.name)


def combine_patches(folders: Sequence[str | Path], out: str | Path, base: Base) -> Path:
    """Join LoRA-only patches of one base to one patch, whose update is the sum of theirs.

    peft stacks them, so its rank is the sum of their ranks, and nothing is lost.

    Args:
        folders: Two patch folders or more.
        out: Where the new patch goes; new, empty, or an older patch.
        base: The base that they are for, without a patch on it.

    Raises:
        PatchError: If one of them has a fusion, is for another base or another prompt, or is
            damaged.
    """
    places = list(map(Path, folders))
    if len(places) < 2:
        raise PatchError("name two patches or more to combine")
    configs = []
    for place in places:
        config = check_folder(place)
        if config.fusion is not None:
            raise PatchError(
                f"{place} has a fusion for the channel {config.channel}, and a patch folder holds "
                "one channel; load such patches side by side: --patch A --patch B"
            )
        _must_be_lora_only(config, str(place))
        check_base(config, base, place)
        configs.append(config)
    first = configs[0]
    for place, config in zip(places, configs, strict=True):
        # One patch is asked in one way.
        if (config.prompt, config.inputs, config.chat) != (first.prompt, first.inputs, first.chat):
            raise PatchError(
                f"{place} was trained with another prompt, chat format or inputs than {places[0]}; "
                "such patches cannot become one"
            )
    spec, tensors = _stacked(base, places, configs)
    about: dict[str, Any] = dict.fromkeys(("probe", "example", "scores", "training"), DROPPED)
    about["lora"] = spec.model_dump()
    files = PatchFiles(saved_config(first, about), {}, tensors)
    write_folder(Path(out), files, base)
    return Path(out)


def _stacked(
    base: Base, places: Sequence[Path], configs: Sequence[PatchConfig]
) -> tuple[LoraSpec, dict[str, Tensor]]:
    """The joined LoRA's shape and tensors; the base is plain again afterwards."""
    names = [f"part{number}" for number in range(len(places))]
    model: Any = None
    for name, place in zip(names, places, strict=True):
        if model is None:
            model = PeftModel.from_pretrained(base.model, place / "lora", adapter_name=name)
        else:
            model.load_adapter(place / "lora", adapter_name=name)
    try:
        ones = [1.0] * len(names)
        model.add_weighted_adapter(names, ones, "joined", combination_type="cat")
        joined = model.peft_config["joined"]
        tensors = get_peft_model_state_dict(model, adapter_name="joined")
        own = {key: tensor.detach().clone() for key, tensor in tensors.items()}
    finally:
        model.unload()
    targets: set[str] = set()
    for config in configs:
        assert config.lora is not None  # they have no fusion
        targets |= set(config.lora.targets or base.family.lora_targets)
    spec = LoraSpec(
        rank=joined.r, alpha=joined.lora_alpha, dropout=0.0, targets=tuple(sorted(targets))
    )
    return spec, own
