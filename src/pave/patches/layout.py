"""The files of a patch folder.

patch.json            what the patch is (`PatchConfig`), with the sha256 of every weight file
fusion.safetensors    weights of the fusion function
lora/                 a standard PEFT adapter (adapter_config.json, adapter_model.safetensors)
lora-<channel>/       likewise, of a patch whose channels have a LoRA each
README.md             generated card
scores.json           what `pave eval` measured with these weights
.eval_results/        the same numbers in the form that the Hub reads
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from pave.errors import PatchError
from pave.patches.config import PatchConfig

MANIFEST = "patch.json"
CARD = "README.md"
FUSION = "fusion.safetensors"
_ADAPTER_CONFIG, _ADAPTER = "adapter_config.json", "adapter_model.safetensors"
LORA_CONFIG = f"lora/{_ADAPTER_CONFIG}"
LORA = f"lora/{_ADAPTER}"
SCORES = "scores.json"

_OF_CHANNELS = (f"lora-*/{_ADAPTER_CONFIG}", f"lora-*/{_ADAPTER}")
FILES = (MANIFEST, CARD, FUSION, LORA_CONFIG, LORA, *_OF_CHANNELS, SCORES)
"""All that pave reads of a patch folder, and all that it fetches of a repository; patterns."""

RESULTS = ".eval_results/pave-"
"""How the files of scores for the Hub begin; files of other names there are somebody else's."""


def is_part(name: str) -> bool:
    """Whether a file belongs to a patch folder, by its path there.

    Example:
        >>> is_part("lora/adapter_config.json"), is_part(".eval_results/pave-a.yaml"), is_part("a")
        (True, True, False)
    """
    return name.startswith(RESULTS) or any(fnmatchcase(name, pattern) for pattern in FILES)


def weight_files(config: PatchConfig) -> list[str]:
    """The weight files that a patch of this config has, by their path in the folder."""
    names = []
    if config.parts:
        names.append(FUSION)
    for channel in config.loras:
        names += lora_files(channel)
    return names


def lora_files(channel: str) -> tuple[str, str]:
    """Config and weights of a LoRA: of one channel, or of all with an empty name.

    Example:
        >>> lora_files("audio")[0]
        'lora-audio/adapter_config.json'
    """
    folder = "lora"
    if channel:
        folder += f"-{channel}"
    return f"{folder}/{_ADAPTER_CONFIG}", f"{folder}/{_ADAPTER}"


def inside(folder: Path, name: str) -> Path:
    """A file of the folder, if it is one and no link leads out.

    A Hub cache keeps its files as links `snapshots/<revision>/x -> blobs/y`; there the links may
    lead to the blobs.

    Raises:
        PatchError: If it is missing, is no file, or lies elsewhere.
    """
    root = folder.resolve()
    allowed = [root]
    if in_hub_cache(folder):
        allowed.append(root.parent.parent / "blobs")
    try:
        path = (root / name).resolve(strict=True)
    # RuntimeError: links that lead to each other.
    except (OSError, RuntimeError) as error:
        why = "the patch folder is incomplete"
        if name == MANIFEST and (root / "adapter_config.json").exists():
            why = "the folder holds only a PEFT adapter; merge that into the base instead"
        raise PatchError(f"{folder / name} is missing; {why}") from error
    if not any(path.is_relative_to(place) for place in allowed):
        raise PatchError(f"{folder / name} points outside the patch folder, so it is not read")
    if not path.is_file():
        raise PatchError(f"{folder / name} is not a file; the patch folder is damaged")
    return path


def in_hub_cache(folder: Path) -> bool:
    """Whether a folder is a snapshot in a Hub cache, which is the Hub client's to write."""
    root = folder.resolve()
    return root.parent.name == "snapshots" and (root.parent.parent / "blobs").is_dir()
