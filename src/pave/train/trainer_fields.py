"""The `trainer:` block: fields of the Hugging Face Trainer that a run may set.

Any field of `TrainingArguments` goes through. Those that pave sets itself, or that would break
something it promises, are refused with the reason; `REFUSED` is the whole list.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pave.errors import ConfigError, first_problem
from pave.registry import did_you_mean
from pave.train.zero_settings import zero_settings

FREE_TO_CHANGE = frozenset(
    {
        "report_to",
        "run_name",
        "project",
        "log_level",
        "log_level_replica",
        "log_on_each_node",
        "logging_first_step",
        "save_total_limit",
        "torch_empty_cache_steps",
        "skip_memory_metrics",
        "trackio_space_id",
        "trackio_bucket_id",
        "trackio_static_space_id",
        "gradient_checkpointing_kwargs",
        "dataloader_num_workers",
        "dataloader_prefetch_factor",
        "dataloader_persistent_workers",
        "dataloader_multiprocessing_context",
        "ddp_backend",
        "deepspeed",
        "ddp_timeout",
    }
)
"""Fields that change nothing of what is computed, so an interrupted run may go on with others."""

_ORDER = "the order of the data depends on the seed alone, as a resumed run needs"
_VALIDATE = "use `validation` outside the block, which scores as `pave eval` does"
_PUSH = "use `pave push`, which checks the patch and writes its card"
_DDP = "the gradients of a patch are averaged in one exchange a step, without DDP's wrapper"
_LOSS = "the loss is always the mean over all answer tokens of a step"
_KNOWN = "`attention` and `precision` choose fast kernels that are checked against the plain ones"
_SHARD = "use `engine`; the base alone needs to be cut into shares, and not the patch"

REFUSED: Mapping[str, str] = {
    # What pave has a setting of its own for.
    "output_dir": "use `out`",
    "max_steps": "use `steps`",
    "num_train_epochs": "use `epochs`",
    "per_device_train_batch_size": "use `batch_clips`",
    "gradient_accumulation_steps": "use `accumulation`",
    "learning_rate": "use `lr_lora`, `lr_fusion` and `lr_gate`",
    "weight_decay": "use `weight_decay` outside the block",
    "warmup_steps": "use `warmup`, a share of the steps",
    "max_grad_norm": "use `max_grad_norm` outside the block",
    "bf16": "use `precision`",
    "fp16": "use `precision`; pave does not train in fp16, which would need loss scaling",
    "use_cpu": "use `device`",
    "seed": "use `seed` outside the block",
    "data_seed": "use `seed` outside the block",
    "logging_steps": "use `log_every`",
    "logging_strategy": "use `log_every`",
    "save_steps": "use `save_every`",
    "save_strategy": "use `save_every`; without checkpoints a run could not be resumed",
    "gradient_checkpointing": "use `gradient_checkpointing` outside the block",
    "activation_checkpointing": "use `gradient_checkpointing` outside the block",
    "activation_checkpointing_kwargs": "use `gradient_checkpointing_kwargs`",
    "resume_from_checkpoint": "use `resume`",
    "disable_tqdm": "pave has its own progress bar, which it shows on a terminal only",
    # What would break resuming or the order of the data.
    "save_only_model": "a checkpoint without the optimiser's state could not be resumed exactly",
    "save_on_each_node": "only the first process writes checkpoints",
    "enable_jit_checkpoint": "pave itself writes a checkpoint when it receives a signal",
    "restore_callback_states_from_checkpoint": "pave restores the state of its callbacks itself",
    "ignore_data_skip": _ORDER,
    "train_sampling_strategy": _ORDER,
    "length_column_name": _ORDER,
    "dataloader_drop_last": _ORDER,
    "dataloader_in_order": _ORDER,
    "accelerator_config": _ORDER,
    "auto_find_batch_size": "another batch size is another run; `pave estimate` helps to choose it",
    "remove_unused_columns": "samples are not columns of a table",
    "dataloader_pin_memory": "the collator moves tensors to the device itself",
    "include_num_input_tokens_seen": "the log counts tokens itself",
    # What would change the loss, or the base.
    "average_tokens_across_devices": _LOSS,
    "label_smoothing_factor": _LOSS,
    "label_names": _LOSS,
    "logging_nan_inf_filter": "it would hide a loss that is not finite",
    "neftune_noise_alpha": "it needs the base's embeddings to train; a patch leaves them alone",
    "use_liger_kernel": f"it changes the frozen base's own modules; {_KNOWN}",
    "liger_kernel_config": f"it changes the frozen base's own modules; {_KNOWN}",
    "use_cache": "training does not keep keys and values",
    "torch_compile": "compiled code skips the hooks through which a patch works",
    "torch_compile_backend": "nothing is compiled",
    "torch_compile_mode": "nothing is compiled",
    "optim_target_modules": "pave divides the weights into groups for the optimiser itself",
    # What is not tried with a patch.
    "fsdp": _SHARD,
    "fsdp_config": _SHARD,
    "parallelism_config": _SHARD,
    "ddp_find_unused_parameters": _DDP,
    "ddp_broadcast_buffers": _DDP,
    "ddp_bucket_cap_mb": _DDP,
    "ddp_static_graph": _DDP,
    "local_rank": "torchrun sets it",
    # What pave does in its own way.
    "do_train": "`pave train` trains",
    "do_eval": _VALIDATE,
    "do_predict": _VALIDATE,
    "bf16_full_eval": _VALIDATE,
    "fp16_full_eval": _VALIDATE,
    "eval_strategy": _VALIDATE,
    "eval_steps": _VALIDATE,
    "eval_delay": _VALIDATE,
    "per_device_eval_batch_size": _VALIDATE,
    "prediction_loss_only": _VALIDATE,
    "eval_on_start": _VALIDATE,
    "eval_do_concat_batches": _VALIDATE,
    "eval_use_gather_object": _VALIDATE,
    "eval_accumulation_steps": _VALIDATE,
    "include_for_metrics": _VALIDATE,
    "batch_eval_metrics": _VALIDATE,
    "load_best_model_at_end": _VALIDATE,
    "metric_for_best_model": _VALIDATE,
    "greater_is_better": _VALIDATE,
    "push_to_hub": _PUSH,
    "hub_token": _PUSH,
    "hub_private_repo": _PUSH,
    "hub_model_id": _PUSH,
    "hub_strategy": _PUSH,
    "hub_always_push": _PUSH,
    "hub_revision": _PUSH,
}
"""Field of `TrainingArguments` -> why the block does not take it, or what to set instead."""

# Optimisers that choose or update weights themselves, past the groups of the patch.
_OWN_WAY = ("galore", "apollo", "lomo", "adalomo", "badam")


def trainer_fields() -> dict[str, Any]:
    """Name -> type of every field that the `trainer:` block takes."""
    from transformers import TrainingArguments

    # Its annotations are texts, some of them of types that are imported for checkers alone.
    types = typing.get_type_hints(TrainingArguments)
    found = {}
    for field in dataclasses.fields(TrainingArguments):
        if field.init and field.name not in REFUSED:
            found[field.name] = types[field.name]
    return found


def check_trainer(block: Mapping[str, Any]) -> dict[str, Any]:
    """The block with its values in the types of their fields.

    Args:
        block: Field of `TrainingArguments` -> value.

    Raises:
        ConfigError: If a field is unknown, refused, or its value is of another type.

    Example:
        >>> check_trainer({"adam_beta2": "0.98"})
        {'adam_beta2': 0.98}
    """
    if not block:  # transformers takes seconds to load
        return {}
    known = trainer_fields()
    checked = {}
    for name, value in block.items():
        if name in REFUSED:
            raise ConfigError(f"trainer.{name} is not supported: {REFUSED[name]}")
        if name not in known:
            # Of the refused ones, too: whoever meant one of them should read why.
            hint = did_you_mean(name, [*known, *REFUSED])
            raise ConfigError(f"trainer.{name}: the Trainer has no such field{hint}")
        checked[name] = _typed(name, known[name], value)
    _check_optimiser(str(checked.get("optim", "")))
    _check_schedule(checked)
    zero_settings(checked)
    return checked


def decisive(block: Mapping[str, Any]) -> dict[str, Any]:
    """What of the block decides what a run computes."""
    return {name: value for name, value in block.items() if name not in FREE_TO_CHANGE}


def _typed(name: str, kind: Any, value: Any) -> Any:
    """A value in its field's type; transformers itself looks at few of them."""
    try:
        checker: TypeAdapter[Any] = TypeAdapter(
            kind, config=ConfigDict(arbitrary_types_allowed=True)
        )
        made = checker.validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"trainer.{name}: {first_problem(error)[1]}, got {value!r}") from error
    # Settings are written as YAML, which knows no enumerations of transformers.
    return getattr(made, "value", made)


def _check_optimiser(name: str) -> None:
    """Refuse optimisers that are unknown, or that a patch cannot be trained with."""
    if not name:  # pave's own AdamW
        return
    from transformers.training_args import OptimizerNames

    known = [member.value for member in OptimizerNames]
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"trainer.optim: unknown optimiser {name!r}{hint}")
    if name.startswith("schedule_free"):
        raise ConfigError(
            f"trainer.optim: {name} trains on other weights than it would save; choose another one"
        )
    if name.startswith(_OWN_WAY):
        raise ConfigError(
            f"trainer.optim: {name} chooses its weights itself, but a patch needs groups with a "
            "learning rate each; choose another one"
        )


def _check_schedule(checked: Mapping[str, Any]) -> None:
    """Refuse schedules that are unknown, or that follow what a run does not have."""
    from transformers.trainer_utils import SchedulerType

    name = checked.get("lr_scheduler_type")
    # transformers would raise too, but with the name of its class alone.
    known = [member.value for member in SchedulerType]
    if name is not None and name not in known:
        hint = did_you_mean(str(name), known)
        raise ConfigError(f"trainer.lr_scheduler_type: unknown schedule {name!r}{hint}")
    if name in ("reduce_lr_on_plateau", "greedy"):
        raise ConfigError(
            f"trainer.lr_scheduler_type: {name} follows the Trainer's own evaluation, which a "
            "run of pave does not have; choose another one"
        )
