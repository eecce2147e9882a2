"""`trainer.deepspeed`: DeepSpeed's ZeRO-2 divides gradients and moments among the processes.

DeepSpeed gets a module that has the weights of the patch and nothing else. The base, its hooks and
the backward pass stay as they are without it. The gradients of each pass are handed over in one
fixed order: DeepSpeed exchanges them as they become ready, and that differs between processes where
only one's clips have the channel.

A checkpoint is that of a run without DeepSpeed, because the moments are gathered for it. So a run
may go on with it or without it, and with another number of processes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.optim import AdamW
from transformers import TrainingArguments

from pave import hf_compat
from pave.errors import ConfigError
from pave.train.config import TrainConfig
from pave.train.zero_settings import zero_settings


def check_zero(config: TrainConfig, args: TrainingArguments) -> None:
    """Refuse what does not go together with DeepSpeed.

    Raises:
        ConfigError: If something does not, or DeepSpeed is not there.
    """
    if zero_settings(config.trainer) is None:
        return
    if args.world_size == 1:
        raise ConfigError(
            "trainer.deepspeed divides gradients and moments among several processes, and there "
            "is one; start them with torchrun --nproc_per_node N, or leave it out"
        )
    if config.engine == "fsdp":
        raise ConfigError("trainer.deepspeed does not go together with engine fsdp; choose one")
    if config.trainer.get("optim", "adamw_torch") != "adamw_torch":
        raise ConfigError("trainer.deepspeed trains with AdamW; leave trainer.optim out")
    try:
        importlib.import_module("deepspeed")
    except ImportError as error:
        raise ConfigError(
            f"trainer.deepspeed needs the extra deepspeed: pip install 'video-pave[deepspeed]' "
            f"({error})"
        ) from error


class _Weights(nn.Module):
    """The weights that DeepSpeed sees; its loss has the gradients that it is given."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__()
        self.copies = nn.ParameterList()
        for weight in weights:
            self.copies.append(nn.Parameter(weight.detach().clone()))

    def forward(self, gradients: Sequence[Tensor]) -> Tensor:
        """A sum whose gradient of each weight is the given one, to the bit."""
        parts = []
        for weight, gradient in zip(self.copies, gradients, strict=True):
            parts.append((weight * gradient).sum())
        return torch.stack(parts).sum()


def _engine(
    weights: nn.Module, optimizer: AdamW, settings: Mapping[str, Any], config: TrainConfig
) -> Any:
    """DeepSpeed's engine for the weights of a patch.

    Raises:
        ConfigError: If DeepSpeed refuses its settings.
    """
    ours = {
        "train_micro_batch_size_per_gpu": config.batch_clips,
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.max_grad_norm,
    }
    deepspeed = importlib.import_module("deepspeed")
    try:
        return deepspeed.initialize(
            model=weights,
            optimizer=optimizer,
            config={**settings, **ours},
            dist_init_required=False,  # the Trainer has begun already
        )[0]
    except (ValueError, AssertionError) as error:
        said = " ".join(str(error).split())
        raise ConfigError(f"DeepSpeed refuses the settings trainer.deepspeed: {said}") from error


class ZeroAdamW(AdamW):
    """AdamW over a patch whose gradients and moments lie in shares with DeepSpeed.

    Args:
        groups: Of the optimiser, with the patch's own parameters.
        settings: From `zero_settings`.
        config: Of the run.
        options: Of AdamW.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        settings: Mapping[str, Any],
        config: TrainConfig,
        **options: Any,
    ) -> None:
        super().__init__([dict(group) for group in groups], **options)
        self._trained: list[nn.Parameter] = []
        for group in groups:
            self._trained += group["params"]
        self._weights = _Weights(self._trained)
        # The same groups, of DeepSpeed's copies.
        copies = iter(self._weights.copies)
        shared = []
        for group in groups:
            own = list(islice(copies, len(group["params"])))
            shared.append({**group, "params": own})
        self._inner = AdamW(shared, **options)
        self._engine = _engine(self._weights, self._inner, settings, config)
        # From now on both are the same memory, which DeepSpeed writes into.
        for parameter, copied in zip(self._trained, self._weights.copies, strict=True):
            parameter.data = copied.data
        self._started = False

    def take(self, last: bool) -> None:
        """Hand over the gradients of a pass; `last` of an optimiser step."""
        gradients = []
        # In the order of the groups, the same in all processes.
        for parameter in self._trained:
            gradient = parameter.grad
            if gradient is None:  # a part without use in this process's clips
                gradient = torch.zeros_like(parameter)
            gradients.append(gradient)
            parameter.grad = None
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(self._engine(gradients), scale_wrt_gas=False)
        if not last:
            self._engine.step()  # counts the pass

    def norm(self) -> float:
        """Of the gradients of all processes, before they are clipped."""
        return hf_compat.zero_norm(self._engine)

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One optimiser step, at the rates that the schedule has given."""
        for ours, theirs in zip(self.param_groups, self._inner.param_groups, strict=True):
            theirs["lr"] = ours["lr"]
        if not self._started:
            # A checkpoint may have been read into the weights since DeepSpeed copied them.
            hf_compat.refresh_zero(self._engine)
            self._started = True
        self._engine.step()

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """The first process has all moments, as a plain AdamW has them."""
        first = distributed.get_rank() == 0
        shares = hf_compat.zero_shares(self._engine)
        for group, share in zip(self.param_groups, shares, strict=True):
            state = self._inner.state[share]
            for name in ("exp_avg", "exp_avg_sq"):
                self._spread(group["params"], name, _gather(state[name]), first)
            for parameter in group["params"] if first else []:
                self.state[parameter]["step"] = state["step"].clone()
        try:
            yield
        finally:
            self.state.clear()

    def _spread(
        self,
        parameters: Sequence[Tensor],
        name: str,
        whole: Tensor,
        first: bool,
    ) -> None:
        """Cut one tensor of a group into those of its parameters."""
        start = 0
        for parameter in parameters if first else []:
            part = whole[start : start + parameter.numel()]
            self.state[parameter][name] = part.view_as(parameter).clone()
            start += parameter.numel()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep this process's share of the moments that a checkpoint has."""
        super().load_state_dict(state_dict)
        if not self.state:  # of no step yet
            return
        shares = hf_compat.zero_shares(self._engine)
        for group, share in zip(self.param_groups, shares, strict=True):
            # All parameters of a group have made as many steps.
            first, *_ = group["params"]
            kept = {"step": self.state[first]["step"].clone()}
            for name in ("exp_avg", "exp_avg_sq"):
                flat = [self.state[each][name].reshape(-1) for each in group["params"]]
                kept[name] = _share_of(torch.cat(flat), share)
            self._inner.state[share] = kept
        self.state.clear()


def _gather(share: Tensor) -> Tensor:
    """All processes' shares behind one another, in the first one."""
    if distributed.get_rank() != 0:
        distributed.gather(share)
        return share
    size = (distributed.get_world_size(), share.numel())
    whole = share.new_empty(size)  # one row a process
    distributed.gather(share, list(whole))
    return whole.reshape(-1)


def _share_of(whole: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor; the last ones are filled up with zeros."""
    start = distributed.get_rank() * like.numel()
    part = whole[start : start + like.numel()].to(like)
    found = torch.zeros_like(like)
    found[: part.numel()] = part
    return found
