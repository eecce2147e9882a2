"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, which says what is leaned on and why. All
were checked with torch 2.13.0, transformers 5.23.0, peft 0.21.2 and accelerate 1.15.0.
`tests/test_hf_compat.py` names each attribute, so that an upgrade that takes one away fails there,
in words, and not deep inside a run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def lanczos_mode() -> str:
    """The resize mode closest to Lanczos: torch has it from 2.13 on, bicubic stands in before.

    Hugging Face's SmolVLM processor falls back in the same way. `torch.__version__` compares as a
    version, not letter by letter.
    """
    return "bicubic" if torch.__version__ < "2.13" else "lanczos"


def tensor_version(tensor: Tensor) -> int:
    """How often a tensor was written to in place (`Tensor._version`, as autograd counts it).

    Inference tensors keep no count; 0 stands for them.
    """
    return 0 if tensor.is_inference() else tensor._version


def can_be_hub_id(name: str) -> bool:
    """Whether the Hub could have a repository of that name.

    `validate_repo_id` is in huggingface_hub's `__all__`, but its stub file leaves it out.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(name)


def find_file(source: str, name: str, *, cached_only: bool = False) -> Path | None:
    """A file of a model folder or Hub id; None where it cannot be had.

    `cached_file` of transformers raises unless these private arguments say otherwise.

    Args:
        source: Folder or Hub id.
        name: The file.
        cached_only: Never ask the Hub.
    """
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        local_files_only=cached_only,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return Path(found) if found else None


def expect_no_weights_of(model: Any, parts: Sequence[str]) -> None:
    """Let a model whose parts were taken off be filled by `from_pretrained` without complaint.

    Called between the model's `__init__` and the reading of weights. Leans on two attributes of
    `PreTrainedModel`: `all_tied_weights_keys` (target -> source; a head that shares the embedding's
    weights goes with them) and `_keys_to_ignore_on_load_unexpected` (regular expressions).

    Args:
        model: The model, without the parts.
        parts: Their names.
    """
    left = dict(model.named_parameters(remove_duplicate=False))
    tied = {}
    for target, source in model.all_tied_weights_keys.items():
        if target in left and source in left:
            tied[target] = source
    model.all_tied_weights_keys = tied
    ignored = set(model._keys_to_ignore_on_load_unexpected or ())
    ignored |= {rf"(^|\.){re.escape(part)}\." for part in parts}
    model._keys_to_ignore_on_load_unexpected = ignored


def deepstack_output(**fields: Any) -> Any:
    """The output class of Qwen3-VL's tower, which transformers keeps in the model's own module."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

    return BaseModelOutputWithDeepstackFeatures(**fields)


def attention_of(config: Any) -> str:
    """The attention that a text config's layers look up when they run (`_attn_implementation`)."""
    return str(getattr(config, "_attn_implementation", "sdpa"))


def set_attention(config: Any, name: str) -> None:
    """Set what `attention_of` reads.

    Not by `set_attn_implementation`: that refuses families for which transformers does not list an
    implementation, flex attention say, although their layers run it.
    """
    config._attn_implementation = name
