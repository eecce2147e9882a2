"""A merged copy gives what peft's own forward gives, and is used for nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, LoraModel
from peft.tuners.lora import Linear
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import vector_to_parameters

from pave import cpu
from pave.train.checkpoints import WEIGHTS, load_weights


def layer(dropout: float = 0.0) -> Linear:
    """Peft's layer with two LoRAs at work, one of them scaled by hand."""
    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=["0"], lora_dropout=dropout, init_lora_weights=False
    )
    tuner = LoraModel(nn.Sequential(nn.Linear(24, 20)), {"a": config}, "a")
    tuner.peft_config["b"] = config
    tuner.inject_adapter(tuner.model, "b")
    made = tuner.model[0]
    made.set_adapter(["a", "b"])
    made.scaling["b"] = 0.3
    return made.eval()


def merged(made: Linear) -> tuple[Linear, Linear]:
    """A layer with a merged copy of both LoRAs, and peft's."""
    peft = copy.deepcopy(made)
    cpu.merge(made)
    assert "merged_copy" in vars(made)
    return made, peft


@torch.no_grad()
def test_a_merged_copy_serves_what_it_was_made_for() -> None:
    (ours, peft), x = merged(layer()), torch.randn(3, 7, 24)
    before, parts = ours.base_layer.weight.clone(), ours.lora_A
    parts["a"].forward = parts["b"].forward = None  # type: ignore[assignment,method-assign]  # the LoRA itself is not run
    torch.testing.assert_close(ours(x), peft(x), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours.base_layer.weight, before)


@torch.no_grad()
def test_a_merged_copy_in_half_precision_under_a_lora_in_full() -> None:
    made = layer().to(torch.bfloat16)
    made.lora_A.float(), made.lora_B.float()
    (ours, peft), x = merged(made), torch.randn(3, 24, dtype=torch.bfloat16)
    torch.testing.assert_close(ours(x), peft(x), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merged_copy_under_autocast_and_in_inference_mode(dtype: torch.dtype) -> None:
    (ours, peft), x = merged(layer()), torch.randn(3, 24)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), peft(x), rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            cast, expected = ours(x.to(dtype)), peft(x.to(dtype))
        assert cast.dtype == torch.bfloat16
        torch.testing.assert_close(cast.float(), expected.float(), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "change",
    [
        lambda ours: ours.set_adapter(["a"]),
        lambda ours: ours.set_adapter([]),
        lambda ours: ours.scaling.update(a=0.1),
        lambda ours: ours.lora_B["b"].weight.mul_(2),
        lambda ours: ours.lora_A["a"].register_forward_hook(lambda *call: call[2] * 0),
        lambda ours: ours.base_layer.weight.mul_(2),
        lambda ours: ours.enable_adapters(False),
        lambda ours: ours.to(torch.float64),
    ],
    ids=["one-lora", "no-lora", "weight", "step", "rows", "base", "disabled", "type"],
)
@torch.no_grad()
def test_a_merged_copy_is_not_used_for_anything_else(change: Callable[[Linear], object]) -> None:
    ours, peft = merged(layer())
    change(ours), change(peft)
    x = torch.randn(3, 24, dtype=ours.base_layer.weight.dtype)
    torch.testing.assert_close(ours(x), peft(x), rtol=1e-5, atol=1e-5)


def test_a_merged_layer_trains_as_before() -> None:
    (ours, peft), x = merged(layer()), torch.randn(3, 24)
    assert torch.equal(ours(x), peft(x)) and ours(x).requires_grad


@torch.no_grad()
def test_nothing_is_merged_where_nothing_is_at_work() -> None:
    ours, _ = merged(layer())
    ours.set_adapter([])
    cpu.merge(ours)
    assert not {"merged_copy", "forward"} & set(vars(ours))


@torch.no_grad()
def test_a_loaded_checkpoint_makes_a_merged_copy_stale(tmp_path: Path) -> None:
    ours, peft = merged(layer())
    weights = dict(ours.lora_B.named_parameters())
    save_file(
        {name: torch.randn_like(weight) for name, weight in weights.items()}, tmp_path / WEIGHTS
    )
    load_weights(tmp_path, weights)
    load_weights(tmp_path, dict(peft.lora_B.named_parameters()))
    x = torch.randn(3, 24)
    torch.testing.assert_close(ours(x), peft(x), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        lambda ours: vector_to_parameters(torch.ones(4 * 24), ours.lora_A["a"].parameters()),
        lambda ours: setattr(ours.lora_B["b"].weight, "data", torch.ones(20, 4)),
        lambda ours: ours.to(torch.bfloat16).to(torch.float32),
    ],
    ids=["vector", "data", "cast"],
)
def test_exchanged_weights_make_a_merged_copy_stale(change: Callable[[Linear], object]) -> None:
    ours, peft = merged(layer())
    change(ours), change(peft)
    x = torch.randn(3, 24)
    torch.testing.assert_close(ours(x), peft(x), rtol=1e-5, atol=1e-5)


def test_weights_of_inference_mode_have_no_copies() -> None:
    with torch.inference_mode():
        made = layer()
        peft = copy.deepcopy(made)
        cpu.merge(made)
        x = torch.randn(3, 24)
        assert "merged_copy" not in vars(made)
        torch.testing.assert_close(made(x), peft(x))


def double(*given: object) -> torch.Tensor:
    return 2 * given[-1]  # type: ignore[operator,no-any-return]  # a layer's output


def hook_in(plain: nn.Module) -> None:
    plain.register_forward_hook(double)


def hook_before(plain: nn.Module) -> None:
    plain.register_forward_pre_hook(lambda _, given: (2 * given[0],))


def put_forward(plain: nn.Module) -> None:
    own = plain.forward
    plain.forward = lambda x: 2 * own(x)  # type: ignore[method-assign]


@torch.no_grad()
@pytest.mark.parametrize("change", [hook_in, hook_before, put_forward])
def test_what_somebody_put_around_the_bases_layer_is_not_left_out(
    change: Callable[[nn.Module], None],
) -> None:
    """Before the copy none is made, and behind it the copy is passed by."""
    made, x = layer(), torch.randn(3, 24)
    change(made.get_base_layer())
    expected = made(x)
    cpu.merge(made)
    assert "merged_copy" not in vars(made)
    ours, _ = merged(layer())
    change(ours.get_base_layer())
    assert torch.equal(ours(x), expected)
