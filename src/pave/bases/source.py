"""What a base may be loaded from, and reading what others put there.

All that can be wrong with a folder or a Hub id becomes one `BaseError` that says what to do.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pave import hf_compat
from pave.bases.hub import access
from pave.errors import BaseError, PaveError
from pave.files import entries_of, must_hold_files, regular_file
from pave.texts import counted, parse_json

ADVICE = (
    "give a folder with config.json, weights and tokenizer, or a Hub id (offline: one that is "
    "in the cache)"
)
PORTS = {
    r"InternVL3-(1|2|8|14|38|78)B": r"OpenGVLab/InternVL3-\1B-hf",
    r"InternVL3_5-(1|2|4|8|14|38|30B-A3)B": r"OpenGVLab/InternVL3_5-\1B-HF",
    r"VideoLLaMA3-(2|7)B-Image": r"lkhl/VideoLLaMA3-\1B-Image-HF",
    r"LLaVA-NeXT-Video-((?:7|34)B(?:-DPO)?|7B-32K)": r"llava-hf/LLaVA-NeXT-Video-\1-hf",
}
"""Names of well-known repositories with code of their own -> their port to transformers."""
PORTED_TYPES = {"internvl_chat": "internvl", "videollama3_qwen2": "video_llama_3"}
"""Model types of well-known code -> what transformers calls the same model."""
UNPORTED_TYPES = ("minicpmo", "minicpmv", "molmo")
"""Model types of well-known code that transformers has no model for."""
WHOLE = "model.safetensors"
INDEX = f"{WHOLE}.index.json"
LFS, LFS_BYTES = b"version https://git-lfs", 1024
"""How a pointer of Git LFS begins, and more bytes than one has."""
# Any one is enough: what Hugging Face, transformers' slow classes and SentencePiece write.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")


def check_source(source: str) -> None:
    """Say what a source lacks before Hugging Face sees it, which takes any name for a Hub id.

    Raises:
        BaseError: If it is neither a whole model folder nor can be a Hub id.
    """
    # Not pathlib's: these also answer for names that are too long for the system.
    if source and os.path.isdir(source):
        _check_folder(Path(source))
    elif source and os.path.exists(source):
        raise BaseError(f"{source} is a file; a base is a folder: {ADVICE}")
    elif source and os.path.islink(source):
        raise BaseError(f"{source} is a broken link; {ADVICE}")
    elif not hf_compat.can_be_hub_id(source):
        raise BaseError(
            f"{source or 'an empty name'}: neither a folder nor a Hub id; a base is "
            '"smol", a model folder, or a Hub id such as '
            "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"
        )


def _check_folder(folder: Path) -> None:
    """Say which file a local folder lacks."""
    config = folder / "config.json"
    if not config.is_file() and (folder / "adapter_config.json").is_file():
        raise BaseError(
            f"{folder}: is a PEFT adapter, not a base; merge it into its base "
            "(merge_and_unload), save the result, and use that folder"
        )
    if not config.is_file():
        raise BaseError(f"{folder}: holds no config.json; {ADVICE}")
    _parse(config)
    weights = [*entries_of(folder, "*.safetensors"), *entries_of(folder, "*.bin")]
    if not weights:
        raise BaseError(f"{folder}: holds no weights (*.safetensors); {ADVICE}")
    must_hold_files(folder, BaseError)
    _must_hold_contents(folder)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise BaseError(f"{folder}: holds no tokenizer (tokenizer.json); {ADVICE}")


def _must_hold_contents(folder: Path) -> None:
    """Refuse files of which there is only what Git keeps in their place."""
    for file in sorted(folder.iterdir()):
        if file.suffix not in (".json", ".safetensors", ".bin", ".model"):
            continue
        if file.stat().st_size < LFS_BYTES and file.read_bytes().startswith(LFS):
            raise BaseError(
                f"{file}: is only a pointer of Git LFS, without the contents; fetch them (git lfs "
                "pull), or download the model again"
            )


def must_hold_shards(source: str) -> None:
    """Refuse a folder that lacks some of the weight files that its index names.

    Args:
        source: Folder or Hub id; of an id, Hugging Face fetches what is missing.

    Raises:
        BaseError: If there is such a file.
    """
    folder = Path(source)
    # A whole file wins over those of an index.
    if not folder.is_dir() or (folder / WHOLE).is_file():
        return
    files = read_json(source, INDEX).get("weight_map")
    if not isinstance(files, dict):
        return
    named = sorted(set(map(str, files.values())))
    missing = [name for name in named if not (folder / name).is_file()]
    if missing:
        raise BaseError(
            f"{source}: lacks {len(missing)} of the {counted(len(named), 'weight file')} that "
            f"{INDEX} names, first {missing[0]}; download the model again"
        )


def read_json(source: str, name: str) -> dict[str, Any]:
    """A JSON file of a model folder or Hub id; empty where there is none.

    Raises:
        BaseError: If it cannot be fetched, or is no JSON object.
    """
    with reading(source, f"{name} cannot be fetched"):
        path = hf_compat.find_file(source, name, **access(source))
    if path is None:
        return {}
    return _parse(path)


def _parse(path: Path) -> dict[str, Any]:
    regular_file(path, BaseError)
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BaseError(f"{path}: cannot be read ({error}); download the model again") from error
    if not isinstance(content, dict):
        raise BaseError(
            f"{path}: must hold a JSON object, got {type(content).__name__}; download the model "
            "again"
        )
    return content


def is_llava(config: Mapping[str, Any]) -> bool:
    """Whether a folder is in the naming of LLaVA's own code.

    Args:
        config: Its config.json.
    """
    # Projects that grew out of LLaVA's code go on writing this key under model types of their own.
    return "mm_projector_type" in config and str(config.get("model_type")) not in PORTED_TYPES


def refuse_own_code(source: str, config: Mapping[str, Any]) -> None:
    """Refuse a model that is Python code beside its weights: pave never runs such code.

    Args:
        source: Folder or Hub id.
        config: Its config.json.

    Raises:
        BaseError: If transformers has no model of its own for it.
    """
    from transformers import CONFIG_MAPPING

    model_type = str(config.get("model_type"))  # a damaged file may hold anything
    if model_type in CONFIG_MAPPING:
        return
    # Copies that were trained on may have lost the key that points at the code.
    known = model_type in PORTED_TYPES or model_type in UNPORTED_TYPES
    if known or "auto_map" in config:
        raise BaseError(
            f"{source}: model type {model_type!r} needs Python code from its repository, which "
            f"pave never runs; {in_transformers(source, model_type)}"
        )


def in_transformers(source: str, model_type: str = "") -> str:
    """Where the same model is to be had in transformers' own format, as the end of a message.

    Args:
        source: Folder or Hub id.
        model_type: As its config.json has it.
    """
    name = source.rstrip("/").rsplit("/", 1)[-1]
    for pattern, place in PORTS.items():
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return f"use {re.sub(pattern, place, name, flags=re.IGNORECASE)}"
    if model_type in UNPORTED_TYPES:
        return "transformers has no built-in class for it, so use a base of another family"
    hint = "their names often end in -hf"
    if model_type in PORTED_TYPES:
        hint = f"model type {PORTED_TYPES[model_type]!r}; {hint}"
    return f"use a copy in transformers' own format ({hint})"


def must_be_whole(
    source: str, model: Any, report: Mapping[str, Any], advice: str = "download it again"
) -> None:
    """Refuse weights that do not fill the model, or fill more layers than it has.

    Args:
        source: Folder or Hub id.
        model: As it was loaded.
        report: What `from_pretrained` gives with `output_loading_info`.
        advice: What to do about it.

    Raises:
        BaseError: If tensors are missing or of another shape, or there are more layers of them than
            the configuration asks for.
    """
    wrong = hf_compat.unfilled(report)
    needless = " ".join(report.get("unexpected_keys", ()))
    if wrong and ".base_layer." in needless:  # peft's name for the layer below an adapter
        advice = "it was saved with an adapter or a patch attached: remove that, and save it again"
    if wrong:
        raise BaseError(
            f"{source}: {counted(len(wrong), 'tensor')} missing or with another shape, first "
            f"{wrong[0]}; {advice}"
        )
    further = hf_compat.further_layers(model, report)
    if further:
        raise BaseError(
            f"{source}: the weights have more layers than config.json asks for, first "
            f"{further[0]}; download it again, or save the shorter model"
        )


@contextlib.contextmanager
def reading(source: str, problem: str) -> Iterator[None]:
    """Turn whatever Hugging Face's readers raise into a `BaseError`.

    Their readers trust the files: a damaged one comes out as any exception there is, a KeyError or
    one of safetensors' own.

    Args:
        source: Folder or Hub id.
        problem: What it means, such as "the model could not be loaded".
    """
    try:
        yield
    except PaveError:
        raise
    except Exception as error:
        asked = getattr(source, "revision", None)
        where = f"{source} at revision {asked}" if asked else source
        raise BaseError(f"{where}: {problem} ({first_line(error)}); {ADVICE}") from error


def first_line(error: BaseException) -> str:
    """What an exception says, cut to a line; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[0].strip().rstrip(".:")
