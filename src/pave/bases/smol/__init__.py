"""`smol`: a genuine small Video LLM that needs no hub, no GPU and no account.

SmolLM2-135M-Instruct reads what an ImageNet EfficientNet-Lite0 sees through a projector and a LoRA
that we trained on the embedded world (`pave bases --build smol`; data, steps, seed and scores in
`weights/README.md`). It is a real `LlavaOnevisionForConditionalGeneration`, so it runs the very
code path of LLaVA-OneVision-7B. The first load assembles it into the cache folder (`$PAVE_CACHE`,
else `~/.cache/pave`); later loads read that.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pave import hf_compat
from pave.bases.base import Base
from pave.bases.families.llava_onevision import LlavaOnevision
from pave.bases.origin import Origin
from pave.bases.prompt import PromptStyle
from pave.bases.settings import BaseSettings
from pave.bases.smol.assemble import (
    SHIPPED,
    WHEELS,
    merge_trained,
    missing_parts,
    raw_parts,
    require_parts,
)
from pave.errors import BaseError
from pave.files import clear_left_overs

__all__ = ["SETTINGS", "STYLE", "cache_folder", "load_smol", "missing_parts", "smol_base"]

logger = logging.getLogger(__name__)

# Few tokens around each question: on a CPU every token of a prompt is paid for.
STYLE = PromptStyle(
    head="<|im_start|>", after_video="\n", ask="\n", end="<|im_end|>", again="\n", answer=" "
)
# EfficientNet-Lite was trained on (x - 127) / 128.
SETTINGS = BaseSettings(frames=4, size=(192, 192), mean=(127 / 255,) * 3, std=(128 / 255,) * 3)


def smol_base(
    model: Any,
    tokenizer: Any,
    origin: Origin | None = None,
    *,
    settings: BaseSettings | None = None,
    name: str = "",
) -> Base:
    """Wrap an assembled model as the base `smol` (its own prompt style and frame settings)."""
    family = LlavaOnevision(model.config, style=STYLE)
    return Base(
        model,
        tokenizer,
        family,
        settings=settings or SETTINGS,
        name=name or "smol",
        origin=origin,
    )


def load_smol(
    dtype: torch.dtype = torch.float32,
    tower: bool = True,
    *,
    settings: BaseSettings | None = None,
    name: str = "",
    attention: str | None = None,
    device_map: Any = None,
    quantize: str | None = None,
) -> Base:
    """Load `smol`, assembling it on first use (about half a minute, 270 MB in the cache folder).

    Args:
        dtype: fp32 by default: CPUs without bf16 units are four times slower in bf16.
        tower: False leaves the tower on the disk until a clip has to be seen.
        settings: How frames are prepared, its own way when not given.
        name: What to call it in messages and patch files; "smol" when not given.
        attention: What its layers attend with; the fastest on a CPU when not given.
        device_map: As for `from_pretrained`; the CPU when not given.
        quantize: As of `load_base`.

    Raises:
        BaseError: If a wheel or the trained weights are missing, or the cache folder cannot be
            written; the message says what mends it.
    """
    from transformers import AutoConfig, AutoTokenizer, LlavaOnevisionForConditionalGeneration

    from pave.bases.smol.tower import register

    require_parts()
    register()
    folder = cache_folder()
    if not (folder / "config.json").is_file():
        _assemble_into(folder)
    config = AutoConfig.from_pretrained(folder)
    language_model = LlavaOnevision.language_model
    options = {}
    if device_map is not None:
        options["device_map"] = device_map
    origin = Origin(
        LlavaOnevisionForConditionalGeneration,
        str(folder),
        config,
        dtype,
        language_model,
        options,
        quantize,
        bars=False,  # it is read in a second
    )
    model = origin.load(tower)
    # PyTorch's fused attention is slow on CPUs at smol's short sequences: backward it alone took a
    # fifth of a training step.
    model.model.language_model.set_attn_implementation(attention or "eager")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return smol_base(model, tokenizer, origin, settings=settings, name=name)


def cache_folder() -> Path:
    """Where the assembled base lives; its name changes with the wheels and the trained weights."""
    root = Path(os.environ.get("PAVE_CACHE") or Path.home() / ".cache" / "pave")
    # An upgrade of a wheel, or another training, must not meet a base assembled before it.
    digest = hashlib.sha256()
    for wheel in WHEELS:
        digest.update(f"{wheel}=={version(wheel)};".encode())
    for file in sorted(SHIPPED.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return root / f"smol-{digest.hexdigest()[:12]}"


def _assemble_into(folder: Path) -> None:
    """Assemble beside the target and rename, so that a kill or a second process leaves no half."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clear_left_overs(folder.parent.glob(".assembling-*"))
        place = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".assembling-")
    except OSError as error:
        raise BaseError(
            f"smol is stored in {folder.parent}, which cannot be written ({error.strerror}); set "
            "PAVE_CACHE to another folder"
        ) from error
    with place as scratch:
        logger.warning(
            "assembling the base smol in %s: this happens once and takes about half a minute",
            folder,
        )
        ready = Path(scratch) / "ready"
        with hf_compat.without_bars(), warnings.catch_warnings():
            # peft reads a property that transformers has renamed.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            model, tokenizer = raw_parts(Path(scratch) / "tokenizer")
            # In bf16 the folder is half as large; the language model was four-bit numbers before.
            merge_trained(model).to(torch.bfloat16).save_pretrained(ready)
            tokenizer.save_pretrained(ready)
        try:
            ready.rename(folder)
        except OSError:  # another process finished first
            shutil.rmtree(ready)
