"""Quantised bases: plain folders whose weights are quantised as they are loaded, and ready ones.

`load_base(quantize=...)` holds the weights of the language model's linear layers in few bits:

    nf4        4 bits in blocks of 64, by bitsandbytes; QLoRA's format, scales quantised too
    int8       8 bits, a scale for each row, by torchao; products are in the base's type
    llm-int8   8 bits, by bitsandbytes; products are in 8 bits too, outliers in 16

A word means the same numbers on every device. Tower, projector, embeddings, head and norms stay as
they are: visual tokens, and all that is cached of them, are those of the plain base, and a GPU
spends its memory on the layers.

Folders that are quantised already (AWQ, GPTQ, bitsandbytes, ...) load by themselves, where the
package of their format is installed. Hugging Face says so deep inside the loading of the model,
among words that sound as if the folder were damaged; here it is a line.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from pave import hf_compat
from pave.bases.source import first_line
from pave.errors import BaseError, ConfigError
from pave.version import install_extra

log = logging.getLogger(__name__)

PACKAGES = {"nf4": "bitsandbytes", "int8": "torchao", "llm-int8": "bitsandbytes"}
"""Way to quantise -> the package that does it."""

# nf4: half a byte, and for each block of 64 a scale of one byte, itself scaled by blocks of 256.
_BYTES = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0, "llm-int8": 1.0}
# Of a row: its scale, and torchao's zero point.
_ROW_BYTES = {"nf4": 0, "int8": 5, "llm-int8": 4}


def quantised_bytes(language: nn.Module, word: str) -> int:
    """Bytes of the linear weights of a language model, quantised.

    Args:
        language: The language model; shapes are enough.
        word: How they are quantised.
    """
    total = 0.0
    for module in language.modules():
        if isinstance(module, nn.Linear):
            total += module.in_features * module.out_features * _BYTES[word]
            total += module.out_features * _ROW_BYTES[word]
    return round(total)


def parts_outside(model: Any, language_model: str) -> list[str]:
    """Names of all parts of a model that stay as they are.

    Args:
        model: The model, with or without numbers.
        language_model: Name of the language model's submodule of `model.model`.
    """
    outside = [name for name, _ in model.named_children() if name != "model"]  # the head
    for name, _ in model.model.named_children():
        if name != language_model:
            outside.append(f"model.{name}")
    linear = whole = 0  # numbers of the language model: those that are quantised, and all
    language = getattr(model.model, language_model)
    for module in language.modules():
        if isinstance(module, nn.Linear):
            linear += module.weight.numel()
    for parameter in language.parameters():
        whole += parameter.numel()
    # Experts of a mixture are tensors of their own, not linear layers.
    if 2 * linear < whole:
        log.warning(
            "only %.0f %% of the language model's weights are in linear layers and are "
            "quantised; the others keep their type",
            100 * linear / whole,
        )
    return outside


def quantization(word: str, outside: Sequence[str], dtype: torch.dtype | None) -> Any:
    """What `from_pretrained` takes as `quantization_config`.

    Args:
        word: How to quantise.
        outside: Parts that stay as they are.
        dtype: The base's type, in which 4-bit weights are multiplied.
    """
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if word == "int8":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=list(outside))
    if word == "llm-int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(outside))
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(outside),
    )


def must_quantise(word: str | None, source: str, config: Any, weights: bool = True) -> None:
    """Make sure that a base can be quantised here as asked for.

    Args:
        word: How; None is not at all.
        source: Folder or Hub id.
        config: Hugging Face's configuration of it; None for smol.
        weights: Whether weights will be loaded at all.

    Raises:
        BaseError: If the base is quantised already, or comes without weights.
        ConfigError: If the package is missing, or does not run here.
    """
    if word is None:
        return
    if not weights:
        raise BaseError(
            f"{source}: without weights there is nothing to quantise; leave quantize out"
        )
    settings = getattr(config, "quantization_config", None)
    if settings is not None:
        raise BaseError(
            f"{source}: the weights are already quantised ({method_of(config)}); leave out "
            f"quantize={word!r}, or use the original model"
        )
    package = PACKAGES[word]
    if find_spec(package) is None:
        raise ConfigError(
            f"quantize={word} needs the package {package}, which is not installed here; install "
            f"the extra quant ({install_extra('quant')})"
        )
    from transformers.quantizers import AutoHfQuantizer

    # What it runs on is the package's to say.
    try:
        quantizer = AutoHfQuantizer.from_config(quantization(word, [], None))
        quantizer.validate_environment(device_map=None)
    except Exception as error:
        raise ConfigError(
            f"quantize={word}: {package} does not run here: {first_line(error)}"
        ) from error


def method_of(config: Any) -> str | None:
    """How a model of this configuration is quantised, in words; None where it is not.

    Args:
        config: Hugging Face's configuration of a folder, or of a loaded model.
    """
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    return _method(settings)


def must_be_loadable(source: str, config: Any, weights: bool = True) -> None:
    """Say what is missing to load quantised weights, before any of them is read.

    Args:
        source: Folder or Hub id.
        config: Hugging Face's configuration of it.
        weights: Whether weights will be loaded at all; without them the model is counted as if it
            were not quantised, which is said.

    Raises:
        BaseError: If they are quantised in a way that cannot be loaded here.
    """
    method = method_of(config)
    if method is None:
        return
    settings = config.quantization_config
    if not weights:
        log.warning(
            "%s: its weights are quantised (%s); the sizes shown are those before quantisation",
            source,
            method,
        )
        return

    from transformers.quantizers import AutoHfQuantizer

    # Whatever the format's own check raises: a package that lacks, a GPU, a key of the settings.
    try:
        quantizer = AutoHfQuantizer.from_config(settings, pre_quantized=True)
        quantizer.validate_environment(device_map=None)
    except Exception as error:
        raise BaseError(
            f"{source}: its weights are quantised ({method}) and cannot be loaded here: "
            f"{first_line(error)}; install what is missing, or use the unquantised model"
        ) from error


def must_multiply(model: nn.Module) -> None:
    """Refuse layers that are known to give random numbers where they are.

    Raises:
        BaseError: If there is one.
    """
    for name, layer in model.named_modules():
        # The tower's layers too: packages quantise them where nobody says otherwise.
        if hf_compat.reads_beyond_rows(layer):
            raise BaseError(
                f"the base's {name} is in int8 by quanto, whose product with bf16 on a CPU is "
                "wrong for rows of other lengths than multiples of 32; load the model in fp32, or "
                "on a GPU"
            )


def why_no_products(model: nn.Module, dtype: torch.dtype) -> str:
    """What a quantised layer says to training in bf16; empty if nothing.

    Each package has types that it takes, and says so in the middle of a step.

    Args:
        model: A quantised model.
        dtype: The type of what is not quantised.
    """
    tried: set[tuple[type, type]] = set()
    for layer in model.modules():
        size, weight = getattr(layer, "in_features", None), getattr(layer, "weight", None)
        if not isinstance(size, int) or not isinstance(weight, Tensor):
            continue
        # One of each kind: all others meet the same code.
        kind = type(layer), type(weight.data)
        if kind in tried:
            continue
        tried.add(kind)
        row = torch.zeros(1, size, dtype=dtype, device=weight.device)
        try:
            with torch.autocast(weight.device.type, torch.bfloat16):
                # Behind a norm inputs are of the base's type, behind another product in bf16.
                for given in (row, row.bfloat16()):
                    layer(given.requires_grad_()).sum().backward()
        # Whatever its package raises: of types, of a kernel that is missing here.
        except Exception as error:
            return f"{type(layer).__name__}: {first_line(error)}"
    return ""


def tell_other_quantization(patch: str, trained: str, config: Any) -> None:
    """Warn where a patch was trained on a base that was quantised in another way than this one.

    Args:
        patch: What to call it.
        trained: How its base was quantised, as `method_of` says it. (That it was not is nothing to
            tell: somebody has just asked for this base to be.)
        config: Hugging Face's configuration of this base.
    """
    here = method_of(config)
    if trained == here:
        return
    log.warning(
        "%s was trained on a base that was quantised (%s), and this one is %s: answers differ",
        patch,
        trained,
        here or "not",
    )


def _method(settings: Any) -> str:
    """The format's name and bits, as far as the settings say."""
    facts = settings if isinstance(settings, dict) else settings.to_dict()
    name = facts.get("quant_method") or "of an unknown format"
    name = str(getattr(name, "value", name))  # of a loaded model it is an enumeration
    bits = facts.get("bits")
    for key, number in (("load_in_4bit", 4), ("load_in_8bit", 8)):  # bitsandbytes' way to say it
        if facts.get(key):
            bits = number
    if bits is None:
        return name
    return f"{name}, {bits} bits"
