"""What a base may be loaded from, and reading what others put there: all that is wrong with it becomes one `BaseError`."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pave.errors import BaseError, PaveError

ADVICE = "give a folder with config.json, weights and tokenizer, or a Hub id that can be reached (or is cached, when offline)"


def check_source(source: str) -> None:
    """Say what a source lacks before Hugging Face, which takes every name that is no folder for a Hub id, sees it.

    Raises:
        BaseError: If it is neither a whole model folder nor can be a Hub id.
    """
    # Not pathlib's: these also answer for names that are too long for the system.
    if source and os.path.isdir(source):
        _check_folder(Path(source))
    elif source and os.path.exists(source):
        raise BaseError(f"{source} is a file; a base is a folder: {ADVICE}")
    elif not _can_be_hub_id(source):
        wanted = 'a base is "smol", a model folder, or a Hub id such as llava-hf/llava-onevision-qwen2-0.5b-ov-hf'
        raise BaseError(
            f"{source or 'an empty name'}: no such folder, and no Hub id either; {wanted}"
        )


def must_be_whole(source: str, report: Mapping[str, Any]) -> None:
    """Refuse weights that do not fill the model: Hugging Face draws random numbers for what is missing, and only logs it.

    Args:
        source: Folder or Hub id.
        report: What `from_pretrained` gives with `output_loading_info`.

    Raises:
        BaseError: If tensors are missing or of another shape.
    """
    wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
    if wrong:
        raise BaseError(
            f"{source}: {len(wrong)} tensors are missing or of another shape, first {wrong[0]}; "
            "download it again"
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
        raise BaseError(f"{source}: {problem} ({_first_line(error)}); {ADVICE}") from error


def _can_be_hub_id(source: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # it is in its __all__

    try:
        validate_repo_id(source)
    except HFValidationError:
        return False
    return bool(source)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__


def _check_folder(folder: Path) -> None:
    """Say which file a local folder lacks."""
    config = folder / "config.json"
    if not config.is_file():
        raise BaseError(f"{folder}: holds no config.json; {ADVICE}")
    try:
        content = json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BaseError(
            f"{config}: is no valid JSON ({error}); download the model again"
        ) from error
    if not isinstance(content, dict):
        raise BaseError(
            f"{config}: must hold a JSON object, got {type(content).__name__}; download the model "
            "again"
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise BaseError(f"{folder}: holds no weights (*.safetensors); {ADVICE}")
    if not any(
        (folder / name).is_file()
        for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
    ):
        raise BaseError(f"{folder}: holds no tokenizer (tokenizer.json); {ADVICE}")
