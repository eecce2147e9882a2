"""`load_base`: from a folder, a Hub id, "smol" or a loaded model to a frozen `Base`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pave.bases.base import Base
from pave.bases.families import find_family
from pave.bases.llava import is_llava, load_llava, read_llava
from pave.bases.llava import settings as llava_settings
from pave.bases.origin import Origin
from pave.bases.preprocess import BaseSettings, read_settings
from pave.bases.source import check_source, reading
from pave.errors import BaseError


def load_base(
    source: str | Path | Any,
    tokenizer: Any | None = None,
    *,
    settings: BaseSettings | None = None,
    dtype: str = "auto",
    device: str | None = None,
    name: str = "",
    tower: bool = True,
    weights: bool = True,
) -> Base:
    """Load and freeze a base.

    Args:
        source: "smol" (the small base that comes with pave), a model folder, a Hub id, or a loaded
            `*ForConditionalGeneration` (then `tokenizer` is needed). LLaVA-OneVision may be in
            Hugging Face's naming or in that of LLaVA's own code.
        tokenizer: The tokenizer of a loaded model.
        settings: How frames are prepared; read from the folder, or the family's defaults, when not
            given.
        dtype: Floating-point type of the weights, "auto" for that of the files.
        device: Where to put the model, such as "cuda"; where it is loaded when not given.
        name: What to call the base in messages and patch files; the source itself by default.
        tower: False leaves the vision tower on the disk until a clip has to be seen
            (`Base.visual`), which never happens where all visual tokens come from a store. A model
            that is loaded already keeps what it has.
        weights: False leaves the weights on disk and makes the model on the meta device: shapes
            without numbers, in seconds.

    Raises:
        BaseError: If files are missing or the model belongs to no supported family.

    Example:
        >>> base = load_base("llava-hf/llava-onevision-qwen2-7b-ov-hf", device="cuda")  # doctest: +SKIP
    """
    if isinstance(source, (str, Path)):
        base = _load_named(str(source), settings, dtype, name, tower, weights)
    else:
        base = _wrap(source, tokenizer, settings, name)
    if device is not None:
        base.model.to(device)
    return base


def _wrap(model: Any, tokenizer: Any | None, settings: BaseSettings | None, name: str) -> Base:
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if model_type is None or not hasattr(model, "model"):
        raise BaseError(
            "a base is a folder, a Hub id, 'smol' or a Hugging Face model, got "
            f"{type(model).__name__}"
        )
    if tokenizer is None:
        raise BaseError(
            f"a loaded {type(model).__name__} needs its tokenizer; pass it as load_base(model, "
            "tokenizer)"
        )
    return Base(model, tokenizer, find_family(model_type), settings, name)


def _load_named(
    source: str, settings: BaseSettings | None, dtype: str, name: str, tower: bool, weights: bool
) -> Base:
    if source == "smol":
        return _load_smol(settings, dtype, name, tower)
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoTokenizer

    check_source(source)
    if is_llava(source):
        return _load_llava(source, settings, dtype, name, weights)
    with reading(source, "no model configuration could be read"):
        config = AutoConfig.from_pretrained(source)
    spec = find_family(config.model_type)
    with reading(source, "the model could not be loaded"):
        origin = Origin(
            MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)],
            source,
            config,
            dtype,
            spec.language_model,
        )
        model = origin.load(tower) if weights else on_meta(origin.model_class, config)
    with reading(source, "the tokenizer could not be read"):
        tokenizer = AutoTokenizer.from_pretrained(source)
    found = settings or read_settings(source, spec.settings(config))
    return Base(model, tokenizer, spec, found, name or source, origin)


def _load_llava(
    source: str, settings: BaseSettings | None, dtype: str, name: str, weights: bool
) -> Base:
    """A folder in the naming of LLaVA's own code; see `pave.bases.llava`."""
    from transformers import LlavaOnevisionForConditionalGeneration

    spec = find_family("llava_onevision")
    with reading(source, "the model could not be loaded"):
        files = read_llava(source)
        model = (
            load_llava(source, files, dtype)
            if weights
            else on_meta(LlavaOnevisionForConditionalGeneration, files.config)
        )
    size = spec.settings(files.config).size
    return Base(
        model,
        files.tokenizer,
        spec,
        settings or llava_settings().model_copy(update={"size": size}),
        name or source,
    )


def on_meta(make: Callable[[Any], Any], config: Any) -> Any:
    """A model that has shapes but no numbers, so that one of any size is made in seconds."""
    import torch

    with torch.device("meta"):
        return make(config)


def _load_smol(settings: BaseSettings | None, dtype: str, name: str, tower: bool) -> Base:
    import torch

    from pave.bases.smol import load_smol

    base = load_smol(torch.float32 if dtype == "auto" else getattr(torch, dtype), tower)
    return Base(
        base.model,
        base.tokenizer,
        base.family,
        settings or base.settings,
        name or base.name,
        base.origin,
    )
