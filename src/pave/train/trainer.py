"""`PatchTrainer`: the Hugging Face Trainer, saving only what trains, whole or not at all, with a learning rate for each part.

Everything else (accumulation weighted by answer tokens, mixed precision, clipping, several
processes under torchrun) is the Trainer's own.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from pave.train.checkpoints import load_weights, publish, save_weights, saving
from pave.train.collate import Collator
from pave.train.config import TrainConfig
from pave.train.objective import AnswerModel

CHECKPOINTS_KEPT = 2
GATE = ".fusion.norm."  # where trainable_parameters() has the zero-initialised output norm


def training_arguments(config: TrainConfig, folder: Path, steps: int) -> TrainingArguments:
    """The Trainer's settings for a run of `steps` optimiser steps."""
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.batch_clips,
        gradient_accumulation_steps=config.accumulation,
        lr_scheduler_type="cosine",
        warmup_steps=round(config.warmup * steps),
        max_grad_norm=config.max_grad_norm,
        bf16=config.precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        seed=config.seed,
        data_seed=config.seed,
        save_steps=config.save_every,
        logging_steps=min(config.log_every, steps),  # a short run has a row, too
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )


def parameter_groups(
    parameters: Mapping[str, nn.Parameter], config: TrainConfig
) -> list[dict[str, Any]]:
    """Optimiser groups `lora`, `fusion` and `gate`, each with its own rate; weight decay on matrices only.

    Args:
        parameters: Trainable parameters by the names `PatchedModel.trainable_parameters` gives
            them.
        config: The rates.
    """
    rates = {"lora": config.lr_lora, "fusion": config.lr_fusion, "gate": config.lr_gate}
    groups: dict[tuple[str, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        kind = "lora" if "lora_" in name else "gate" if GATE in name else "fusion"
        decay = config.weight_decay if parameter.dim() > 1 else 0.0
        groups.setdefault((kind, decay), []).append(parameter)
    return [
        {"params": members, "lr": rates[kind], "weight_decay": decay, "name": kind}
        for (kind, decay), members in groups.items()
    ]


class PatchTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """Trains an `AnswerModel` on a fixed sequence of samples.

    Args:
        model: The patched model with its objective.
        config: Rates and weight decay.
        args: From `training_arguments`.
        data: All samples of the run in order.
        collator: Makes batches.
        callbacks: Reporters.
    """

    def __init__(
        self,
        model: AnswerModel,
        config: TrainConfig,
        args: TrainingArguments,
        data: Dataset[Any],
        collator: Collator,
        callbacks: list[TrainerCallback],
    ) -> None:
        self.settings = config
        self.trainable: dict[str, nn.Parameter] = model.patched.trainable_parameters()
        self._staging: Path | None = None
        super().__init__(
            model=model, args=args, train_dataset=data, data_collator=collator, callbacks=callbacks
        )
        self.remove_callback(PrinterCallback)  # it prints; the reporter logs

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW over the three groups."""
        optimizer = AdamW(parameter_groups(self.trainable, self.settings))
        self.optimizer = optimizer
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        """The plan has shuffled already."""
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def _get_output_dir(self, trial: Any) -> str:
        """Where the parent writes: the staging folder while a checkpoint is being made."""
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a checkpoint beside its place and rename it, so that a kill leaves none or a whole one."""
        folder, name = Path(self.args.output_dir), f"checkpoint-{self.state.global_step}"
        self._staging = folder / ".unfinished"
        with saving(folder / name):
            if self.args.should_save:
                shutil.rmtree(self._staging, ignore_errors=True)
                (self._staging / name).mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            try:
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()
                if self.args.should_save:
                    publish(self._staging / name, folder / name, CHECKPOINTS_KEPT)
                    shutil.rmtree(self._staging)
            finally:
                self._staging = None
        self.accelerator.wait_for_everyone()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        """Only the parameters that train; the parent would save the frozen base too."""
        if self.args.should_save:
            save_weights(Path(output_dir or self.args.output_dir), self.trainable)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        """Restore exactly the parameters that train."""
        load_weights(Path(resume_from_checkpoint), self.trainable)
