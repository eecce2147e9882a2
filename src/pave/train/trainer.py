"""`PatchTrainer`: the Hugging Face Trainer, with checkpoints that are whole and hold what trains.

Each part of the patch has a learning rate of its own. Everything else (accumulation weighted by
answer tokens, mixed precision, clipping, several processes under torchrun) is the Trainer's own.

The methods that begin with an underscore are the Trainer's hooks (`pave.hf_compat.TRAINER_HOOKS`):
it has no public ones for where and what it saves.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerControl, TrainingArguments

from pave import hf_compat
from pave.errors import ConfigError
from pave.model import PatchedModel
from pave.train.batches import Sample
from pave.train.checkpoints import check_finite, load_weights, publish, save_weights, saving
from pave.train.collate import Collator
from pave.train.config import TrainConfig
from pave.train.objective import AnswerModel
from pave.train.origin import CONFIG_NAME, NAME
from pave.train.progress import Reporter
from pave.train.result import FACTS_NAME
from pave.train.together import average_gradients
from pave.train.trainer_fields import check_trainer
from pave.train.validator import PREFIX, Validator
from pave.train.zero import ZeroAdamW
from pave.train.zero_settings import FIELD as ZERO_FIELD
from pave.train.zero_settings import zero_settings

log = logging.getLogger(__name__)

CHECKPOINTS_KEPT = 2
"""Unless the setting `trainer.save_total_limit` says otherwise."""


def training_arguments(
    config: TrainConfig, folder: Path, steps: int, device: torch.device
) -> TrainingArguments:
    """The Trainer's settings for a run of `steps` optimiser steps on a device.

    Raises:
        ConfigError: If the settings' `trainer` block has something that does not go here.
    """
    fields: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": config.batch_clips,
        "gradient_accumulation_steps": config.accumulation,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(config.warmup * steps),
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "bf16",
        "use_cpu": device.type == "cpu",
        "seed": config.seed,
        "data_seed": config.seed,
        "save_steps": config.save_every,
        "save_total_limit": CHECKPOINTS_KEPT,
        "logging_steps": min(config.log_every, steps),  # a short run has a row, too
        "logging_nan_inf_filter": False,  # else it hides a NaN behind the last good loss
        "report_to": list(config.track) or "none",
        "run_name": config.out.absolute().name,
        "project": "pave",
        "disable_tqdm": True,  # the bar is our own
        "remove_unused_columns": False,  # samples are no columns
        "dataloader_pin_memory": False,  # the collator moves tensors itself
    }
    # What the block may not set is refused before, so it overrides nothing that matters.
    block = check_trainer(config.trainer)
    block.pop(ZERO_FIELD, None)  # the Trainer would hand over the whole model
    if block.get("dataloader_num_workers") and device.type != "cpu":
        raise ConfigError(
            f"trainer.dataloader_num_workers: samples are assembled on the {device.type} device, "
            "which a worker process cannot use; leave it out"
        )
    try:  # some values it checks itself, some packages are not there
        args = TrainingArguments(**fields | block)
    except (ValueError, ImportError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"the Trainer refuses the block `trainer`: {first}") from error
    if args.world_size == 1:  # each of several processes has been given its own
        hf_compat.train_on(args, device)
    return args


def optimiser_groups(patched: PatchedModel, config: TrainConfig) -> list[dict[str, Any]]:
    """AdamW's groups: a rate for each part of the patch, weight decay on matrices only.

    Args:
        patched: The model with the patch to train.
        config: The rates.

    Returns:
        One group for each part ("lora", "fusion", "gate") with and without decay, in the order in
        which their first parameter comes; a checkpoint keeps the moments in that order.
    """
    rates = {"lora": config.lr_lora, "fusion": config.lr_fusion, "gate": config.lr_gate}
    part_of: dict[int, str] = {}
    for patch in patched.patches.values():
        for part, parameters in patch.parameter_groups().items():
            part_of |= dict.fromkeys(map(id, parameters), part)
    groups: dict[tuple[str, float], dict[str, Any]] = {}
    for parameter in patched.trainable_parameters().values():
        part = part_of[id(parameter)]
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        if (part, decay) not in groups:
            # The name is how the log tells the rates apart.
            groups[part, decay] = {
                "params": [],
                "lr": rates[part],
                "weight_decay": decay,
                "name": part,
            }
        groups[part, decay]["params"].append(parameter)
    return list(groups.values())


def _as_inputs(collator: Collator, samples: Sequence[Sample]) -> dict[str, Any]:
    """A batch as the Trainer takes it: a dictionary, with the labels that it counts.

    It counts them over all passes and processes of an optimiser step. What else is in a batch it
    leaves as it is, and where it is.
    """
    batch = collator(samples)
    return {"batch": batch, "labels": batch.labels}


class PatchTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """Trains an `AnswerModel` on a fixed sequence of samples.

    Args:
        model: The patched model with its objective.
        config: Rates and weight decay.
        args: From `training_arguments`.
        data: All samples of the run in order.
        collator: Makes batches.

    Attributes:
        settings: The settings of the run.
        trainable: Name -> parameter, all that trains.
        kept: Name -> tensor, what a checkpoint holds of the model: these and the fusion's buffers.
        reporter: Adds to what is logged, if there is one.
        validator: Scores the patch while it trains, if anything does.
        describe: What a patch's card would say if the patch were saved now.
        zero: The optimiser, if DeepSpeed divides what it keeps.
    """

    def __init__(
        self,
        model: AnswerModel,
        config: TrainConfig,
        args: TrainingArguments,
        data: Dataset[Any],
        collator: Collator,
    ) -> None:
        self.settings = config
        self.patched = model.patched
        self.trainable: dict[str, nn.Parameter] = model.patched.trainable_parameters()
        self.kept = model.patched.checkpoint_tensors()
        self._staging: Path | None = None
        self.reporter: Reporter | None = None
        self.validator: Validator | None = None
        self.describe: Callable[[], dict[str, Any]] = dict
        self.zero: ZeroAdamW | None = None
        self._sharded = config.engine == "fsdp"
        super().__init__(
            model=model, args=args, train_dataset=data, data_collator=partial(_as_inputs, collator)
        )
        # It leaves the model unwrapped then, and gradients are averaged here. Not before: it would
        # refuse checkpoints of a model in shares, but the optimiser's state of ours is whole.
        self.is_distributed_loading_by_transformers = args.world_size > 1
        self.remove_callback(PrinterCallback)  # it prints; the reporter logs

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over the groups of the patch, or the optimiser of the `trainer` block."""
        groups = optimiser_groups(self.patched, self.settings)
        kind, options = AdamW, {}
        # The Trainer's default is the fused AdamW, which rounds in another order.
        if "optim" in self.settings.trainer:
            kind, options = self.get_optimizer_cls_and_kwargs(self.args)
        else:
            options = {
                "betas": (self.args.adam_beta1, self.args.adam_beta2),
                "eps": self.args.adam_epsilon,
            }
        optimizer: torch.optim.Optimizer
        settings = zero_settings(self.settings.trainer)
        if settings is not None:
            optimizer = self.zero = ZeroAdamW(groups, settings, self.settings, **options)
        else:
            optimizer = kind(groups, **options)
        self.optimizer = optimizer
        return optimizer

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Forward and backward; at the end of an optimiser step gradients become those of all."""
        # The labels have been counted. Of a base on several devices, the collator took the first.
        batch = inputs["batch"].moved(self.args.device)
        loss: Tensor = super().training_step(model, {"batch": batch}, num_items_in_batch)
        last = self.accelerator.sync_gradients
        if self.zero is not None:
            self.zero.take(last)
        elif self.args.world_size > 1 and last:
            average_gradients(self.trainable.values())
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Tell the log and all trackers, also what only the reporter knows."""
        if self.reporter is not None and "loss" in logs:
            logs = {**logs, **self.reporter.measured(self.state)}
        super().log(logs, start_time)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the patch as it is; what it says of the run comes into force after this step."""
        assert self.validator is not None  # who asks for it
        step = self.state.global_step
        scores = self.validator.scores()
        logs = {f"{PREFIX}{name}": score for name, score in scores.items()}
        self.log(logs)
        self.control: TrainerControl = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, logs
        )
        # All processes have the same scores, and so decide alike.
        if self.validator.note(step, scores):
            self.control.should_save = True  # so that a resumed run has the best one, too
        if self.validator.account.over and step < self.state.max_steps:
            log.info("stopped after step %d: patience is exhausted", step)
            self.control.should_save = True
            self.control.should_training_stop = True
        return logs

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """For the log; DeepSpeed has the gradients, and clips them itself."""
        if self.zero is not None:
            return self.zero.norm()
        return super()._get_grad_norm(model, grad_norm)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        """The plan has shuffled already."""
        if train_dataset is None:
            train_dataset = self.train_dataset
        return SequentialSampler(train_dataset)

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        """A base in shares is where it belongs, its patch as well, and it refuses to be moved."""
        if not self._sharded:
            super()._move_model_to_device(model, device)

    def _sync_replicated_trainable_parameters(self, model: nn.Module) -> None:
        """Begin with the same weights everywhere; gradients are averaged in `training_step`."""
        for parameter in self.trainable.values():
            torch.distributed.broadcast(parameter.data, src=0)

    def _get_output_dir(self, trial: Any) -> str:
        """Where the parent writes: the staging folder while a checkpoint is being made."""
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint beside its place and rename it: a kill leaves none or a whole one."""
        check_finite(self.kept, self.state.global_step)
        folder = Path(self.args.output_dir)
        name = f"checkpoint-{self.state.global_step}"
        self._staging = folder / ".unfinished"
        with saving(folder / name):
            if self.args.should_save:
                shutil.rmtree(self._staging, ignore_errors=True)
                (self._staging / name).mkdir(parents=True)
            # No process writes its random state before the folder is there, ...
            self.accelerator.wait_for_everyone()
            try:
                with self.zero.gathered() if self.zero else nullcontext():
                    super()._save_checkpoint(model, trial)
                # ... and the folder is not moved before all have written theirs.
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    publish(self._staging / name, folder / name, self.args.save_total_limit)
                    shutil.rmtree(self._staging)
            finally:
                self._staging = None
        # Only now: should a kill come in between, the checkpoint tells what to write.
        if self.validator is not None and self.args.should_save:
            self.validator.keep(self.state.global_step)
        self.accelerator.wait_for_everyone()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Only what the patch has; the parent would save the frozen base too."""
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            save_weights(folder, self.kept)
            (folder / FACTS_NAME).write_text(json.dumps(self.describe(), indent=1))
            config = self.patched.patches[NAME].config
            (folder / CONFIG_NAME).write_text(config.model_dump_json(indent=1))
            if self.validator is not None:
                self.validator.account.save(folder)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        """Restore exactly what `_save` has written."""
        load_weights(Path(resume_from_checkpoint), self.kept)
