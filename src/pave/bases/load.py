"""`load_base`: from a folder, a Hub id, "smol" or a loaded model to a frozen `Base`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pave import hf_compat
from pave.bases.attention import must_attend
from pave.bases.base import Base
from pave.bases.families import FAMILIES, find_family
from pave.bases.hub import access, commit_of, located
from pave.bases.loading import check_attention, check_map, check_quantize
from pave.bases.origin import Origin, on_meta
from pave.bases.plain import check_inner, check_plain
from pave.bases.quantised import (
    method_of,
    must_be_loadable,
    must_multiply,
    must_quantise,
    parts_outside,
    quantization,
)
from pave.bases.settings import BaseSettings, read_settings
from pave.bases.source import (
    check_source,
    is_llava,
    must_hold_shards,
    read_json,
    reading,
    refuse_own_code,
)
from pave.bases.template import template_of, tokenizers_template
from pave.bases.tied import tie_as_in_files
from pave.errors import BaseError, ConfigError
from pave.placement import find_device, find_dtype


@dataclass(frozen=True)
class _Wanted:
    """How a base was asked for; see `load_base`."""

    settings: BaseSettings | None
    dtype: torch.dtype | None
    name: str
    tower: bool
    weights: bool
    attention: str | None = None
    device: torch.device | None = None
    quantize: str | None = None
    device_map: str | Mapping[str, int | str] | None = None

    def options(self) -> dict[str, Any]:
        """For `from_pretrained`, beside the type."""
        options: dict[str, Any] = {}
        if self.attention is not None:
            options["attn_implementation"] = self.attention
        # A map puts each part where it belongs while it is read.
        if self.device_map is not None:
            options["device_map"] = self.device_map
        elif self.quantize is not None:
            # Where it will be: some quantised weights cannot be moved, and no GPU holds all of a
            # model that is quantised because it is too large.
            options["device_map"] = {"": self.device or torch.device("cpu")}
        return options


def load_base(  # noqa: PLR0913 - keyword-only settings of the public API
    source: str | Path | Any,
    tokenizer: Any | None = None,
    *,
    settings: BaseSettings | None = None,
    dtype: str | torch.dtype = "auto",
    device: str | torch.device | None = None,
    device_map: str | Mapping[str, int | str] | None = None,
    attention: str | None = None,
    quantize: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
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
        dtype: Floating-point type of the weights: "fp32", "bf16", "fp16" or one of torch's; "auto"
            is that of the files (fp32 for smol), and leaves a loaded model as it is.
        device: Where to put the model: "auto" (CUDA, MPS, else the CPU), "cuda:1", ...; where it is
            loaded when not given. A `torch.device` is taken as it is.
        device_map: Spread the model over several GPUs, in the place of `device`: "auto",
            "balanced", "balanced_low_0", "sequential", or parts and their GPUs. The tower comes
            along.
        attention: What its layers attend with, transformers' `attn_implementation`: "sdpa",
            "eager", "flash_attention_2", ...; the model's own when not given.
        quantize: Hold the linear weights of the language model in few bits: "nf4" (4, by
            bitsandbytes), "int8" (by torchao) or "llm-int8" (by bitsandbytes). Everything else
            stays in `dtype`.
        revision: Branch, tag or commit of a Hub id; its default branch when not given. The commit
            is remembered by the patches that are made on the base.
        token: What a Hub id is read with, where the one of `HF_TOKEN` or `hf auth login` will not
            do. It is kept in memory alone.
        name: What to call the base in messages and patch files; the source itself by default.
        tower: False leaves the vision tower on the disk until a clip has to be seen
            (`Base.visual`), which never happens where all visual tokens come from a cache. A model
            that is loaded already keeps what it has.
        weights: False leaves the weights on disk and makes the model on the meta device: shapes
            without numbers, in seconds.

    Raises:
        BaseError: If files are missing, the model belongs to no supported family, or it is wrapped,
            compiled, offloaded or carries an adapter of peft; if a model that is loaded already is
            asked for in another way.
        ConfigError: If there is no such type, attention or way to quantise, or not here, or no such
            device here.

    Example:
        >>> name = "llava-hf/llava-onevision-qwen2-7b-ov-hf"
        >>> base = load_base(name, device="cuda")  # doctest: +SKIP
    """
    # What is mistyped shows before gigabytes are read.
    check_attention(attention)
    check_quantize(quantize)
    check_map(device_map)
    # Both at once would be a guess.
    if device_map is not None and device is not None:
        raise ConfigError("device_map already chooses the devices of the base; leave device out")
    if device is not None and not isinstance(device, torch.device):
        device = find_device(device)
    if not isinstance(name, str):
        raise ConfigError(f"a base's name is a text, got {type(name).__name__}")
    if isinstance(source, (str, Path)):
        name = name or str(source)
    wanted = _Wanted(
        settings,
        find_dtype(dtype),
        name,
        tower or device_map is not None,
        weights,
        attention=attention,
        device=None if device is None else torch.device(device),
        quantize=quantize,
        device_map=device_map,
    )
    if isinstance(source, (str, Path)):
        place = located(str(source), revision, token)
        base = _load_named(place, wanted)
        base.revision = commit_of(place)
        check_plain(base.model)  # transformers loads an adapter that lies beside the weights
    else:
        asked = {"device_map": device_map, "attention": attention, "quantize": quantize}
        _must_be_as_loaded({**asked, "revision": revision})
        base = _wrap(source, tokenizer, wanted)
    if method_of(base.config) is not None:
        hf_compat.keep_quantised_weights(base.model)
    if device is not None and quantize is None:  # quantised ones are there already
        try:
            base.model.to(device)
        except (RuntimeError, TypeError, AssertionError, ValueError) as error:
            raise BaseError(f"the base cannot be put on device {device}: {error}") from error
    if method_of(base.config) is not None:
        must_multiply(base.model)
    return base


def _must_be_as_loaded(asked: Mapping[str, Any]) -> None:
    """Refuse to be asked how a model is loaded that is loaded already."""
    for name, value in asked.items():
        if value is not None:
            raise BaseError(
                f"{name}={value!r} affects how a base is loaded, and this model is loaded "
                "already; give it to its from_pretrained"
            )


def _wrap(model: Any, tokenizer: Any | None, wanted: _Wanted) -> Base:
    """A model that is loaded already."""
    if isinstance(model, torch.nn.Module):
        check_plain(model)
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    # `model.model` owns the tower; a language model alone, or a pipeline, has none.
    if model_type is None or not hasattr(model, "model"):
        raise BaseError(
            "a base must be a folder, a Hub id, 'smol', or a Hugging Face model, got "
            f"{type(model).__name__}"
        )
    if tokenizer is None:
        raise BaseError(
            f"a loaded {type(model).__name__} needs its tokenizer; pass it as load_base(model, "
            "tokenizer)"
        )
    family = find_family(model_type)(model.config)
    check_inner(model, family)
    if wanted.dtype is not None:
        model.to(wanted.dtype)
    name = wanted.name or type(model).__name__
    return Base(
        model,
        tokenizer,
        family,
        settings=wanted.settings,
        name=wanted.name,
        template=tokenizers_template(tokenizer, family, name),
    )


def _load_named(source: str, wanted: _Wanted) -> Base:
    if source == "smol":
        from pave.bases.smol import load_smol

        # Its files are in bf16 to be small, and many CPUs are slow in that: "auto" is fp32 here.
        dtype = wanted.dtype or torch.float32
        must_attend(wanted.attention, dtype, wanted.device)
        must_quantise(wanted.quantize, source, None, wanted.weights)
        return load_smol(
            dtype,
            wanted.tower,
            settings=wanted.settings,
            name=wanted.name,
            attention=wanted.attention,
            device_map=wanted.options().get("device_map"),
            quantize=wanted.quantize,
        )
    check_source(source)
    # As plain JSON first: AutoConfig raises on a model type that only a plug-in knows.
    config = read_json(source, "config.json")
    if is_llava(config):
        return _load_llava(source, wanted)
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILIES.plugins():
        find_family(model_type)  # a plug-in may teach AutoConfig its model, which has to come first
    refuse_own_code(source, config)
    return _load_hugging_face(source, wanted)


def _load_hugging_face(source: str, wanted: _Wanted) -> Base:
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoTokenizer

    with reading(source, "no model configuration could be read"):
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **access(source))
    # An Omni model's folder holds a talker too; the thinker alone sees and answers.
    config = getattr(config, "thinker_config", config)
    # Before the weights, which may be gigabytes: an unsupported model is refused in a second.
    family = find_family(config.model_type)(config)
    must_be_loadable(source, config, wanted.weights)
    if wanted.weights:
        must_hold_shards(source)
    must_attend(wanted.attention, wanted.dtype or config.dtype, wanted.device)
    must_quantise(wanted.quantize, source, config, wanted.weights)
    with reading(source, "the model could not be loaded"):
        model_class = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
        origin = Origin(
            model_class,
            source,
            config,
            wanted.dtype or "auto",
            family.language_model,
            wanted.options(),
            wanted.quantize,
        )
        if wanted.weights:
            model = origin.load(wanted.tower)
        else:
            tie_as_in_files(source, config)
            model = on_meta(model_class, config)
    with reading(source, "the tokenizer could not be read"):
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False, **access(source))
    settings = wanted.settings
    if settings is None:
        settings = read_settings(
            source,
            family.settings(),
            fixed_budget=family.fixed_budget,
            old_limits=family.old_limits,
            resample=family.resample,
        )
    return Base(
        model,
        tokenizer,
        family,
        settings=settings,
        name=wanted.name,
        origin=origin,
        template=template_of(source, tokenizer, family),
    )


def _load_llava(source: str, wanted: _Wanted) -> Base:
    """A folder in the naming of LLaVA's own code; see `pave.bases.llava`."""
    from transformers import LlavaOnevisionForConditionalGeneration

    from pave.bases.llava import llava_settings, load_llava, read_llava

    # No `Origin`: the vocabulary is cut after loading, so the tower always comes along.
    with reading(source, "the model could not be loaded"):
        files = read_llava(source)
        must_attend(wanted.attention, wanted.dtype or files.config.dtype, wanted.device)
        must_quantise(wanted.quantize, source, files.config, wanted.weights)
        family = find_family("llava_onevision")(files.config)
        if wanted.weights:
            options = {"dtype": wanted.dtype or "auto", **wanted.options()}
            if wanted.quantize is not None:
                bare = on_meta(LlavaOnevisionForConditionalGeneration, files.config)
                outside = parts_outside(bare, family.language_model)
                dtype = wanted.dtype or files.config.dtype
                options["quantization_config"] = quantization(wanted.quantize, outside, dtype)
            model = load_llava(source, files, options)
        else:
            model = on_meta(LlavaOnevisionForConditionalGeneration, files.config)
    settings = wanted.settings or llava_settings(files.config)
    return Base(
        model,
        files.tokenizer,
        family,
        settings=settings,
        name=wanted.name,
        inputs=files.inputs,
    )
