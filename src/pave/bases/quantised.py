"""Folders of quantised weights (AWQ, GPTQ, bitsandbytes, ...): what they need, in one line.

Hugging Face loads them where the package of their format is installed. It says so deep inside the
loading of the model, among words that sound as if the folder were damaged.
"""

from __future__ import annotations

import logging
from typing import Any

from pave.bases.source import first_line
from pave.errors import BaseError

log = logging.getLogger(__name__)


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
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return
    method = _method(settings)
    if not weights:
        log.warning(
            "%s: its weights are quantised (%s); sizes are those of the model before that",
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
            f"{first_line(error)}; install what is missing, or use the model before quantisation"
        ) from error


def _method(settings: Any) -> str:
    """The format's name and bits, as far as the settings say."""
    facts = settings if isinstance(settings, dict) else settings.to_dict()
    name = str(facts.get("quant_method") or "of an unknown format")
    bits = facts.get("bits")
    for key, number in (("load_in_4bit", 4), ("load_in_8bit", 8)):  # bitsandbytes' way to say it
        if facts.get(key):
            bits = number
    if bits is None:
        return name
    return f"{name}, {bits} bits"
