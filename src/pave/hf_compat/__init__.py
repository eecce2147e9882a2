"""Every place where pave leans on what transformers, peft, accelerate or torch do not promise.

One function for each private or version-dependent fact, which says what is leaned on, why, and with
which versions it was checked. `tests/test_hf_compat.py` names each attribute, so that an upgrade
that takes one away fails there, in words, and not deep inside a run.

A module for each library or part of one. None imports torch or transformers before it is asked.
"""

from __future__ import annotations

from pave.hf_compat.adapters import (
    activate_adapters,
    adapter_in_float32,
    adapters_on,
    expert_targets,
    is_peft_model,
)
from pave.hf_compat.cpu import (
    has_bf16_units,
    mkl_leaves_avx512_alone,
    onednn_linear,
)
from pave.hf_compat.hub import (
    can_be_hub_id,
    commit_of,
    find_file,
    find_revision,
    hub_errors,
)
from pave.hf_compat.models import (
    attention_implementation,
    attention_told,
    beams_count_images,
    deepstack_output,
    enable_checkpointing,
    expect_no_weights_of,
    further_layers,
    set_attention_implementation,
    unfilled,
    without_bars,
)
from pave.hf_compat.modules import (
    change_counters,
    has_forward_hooks,
    is_called_as_is,
    is_compiled,
    is_offloaded,
    lanczos_mode,
)
from pave.hf_compat.quantised import (
    is_plain,
    keep_quantised_weights,
    reads_beyond_rows,
)
from pave.hf_compat.trainer import (
    TRAINER_HOOKS,
    TRAINER_STATE,
    checkpoint_files,
    is_lost_process,
    is_write_failure,
    train_on,
)
from pave.hf_compat.zero import refresh_zero, zero_norm, zero_shares

__all__ = [
    "TRAINER_HOOKS",
    "TRAINER_STATE",
    "activate_adapters",
    "adapter_in_float32",
    "adapters_on",
    "attention_implementation",
    "attention_told",
    "beams_count_images",
    "can_be_hub_id",
    "change_counters",
    "checkpoint_files",
    "commit_of",
    "deepstack_output",
    "enable_checkpointing",
    "expect_no_weights_of",
    "expert_targets",
    "find_file",
    "find_revision",
    "has_bf16_units",
    "has_forward_hooks",
    "hub_errors",
    "is_called_as_is",
    "is_compiled",
    "is_lost_process",
    "is_offloaded",
    "is_peft_model",
    "is_plain",
    "is_write_failure",
    "keep_quantised_weights",
    "lanczos_mode",
    "mkl_leaves_avx512_alone",
    "onednn_linear",
    "reads_beyond_rows",
    "refresh_zero",
    "set_attention_implementation",
    "train_on",
    "unfilled",
    "further_layers",
    "without_bars",
    "zero_norm",
    "zero_shares",
]
