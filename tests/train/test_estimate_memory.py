"""The memory of a training step: what a step on a CPU keeps, and how several cards share it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pave.bases.prompt import Prompt
from pave.bases.visual import Layout, Visual
from pave.cpu import lean_layers
from pave.data.packing import pack, positions_and_mask, targets
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.tokens import Tokens
from pave.train.attention import attend_with
from pave.train.batch import TrainBatch
from pave.train.card import Machines, Needs, card_bytes, sent_bytes
from pave.train.costs import fusion_bytes
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan
from pave.train.kept import Kept, adapted_maps
from pave.train.objective import AnswerModel

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def kept(step, own) -> int:
    """Bytes of all tensors that autograd keeps for the backward pass, each storage once."""
    saved: dict[int, int] = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    weights = {parameter.untyped_storage().data_ptr() for parameter in own}
    return sum(size for place, size in saved.items() if place not in weights)


ALL = None
"""Targets: every projection."""
HEADS = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize(
    ("precision", "hidden", "mlp", "layers", "questions", "dropout", "attention", "adapted"),
    [
        ("fp32", 128, 512, 4, 1, 0.0, "sdpa", ALL),
        ("fp32", 256, 512, 2, 4, 0.0, "sdpa", ALL),
        ("bf16", 128, 512, 4, 1, 0.0, "sdpa", ALL),
        ("fp32", 128, 512, 4, 1, 0.05, "sdpa", ALL),
        ("bf16", 128, 512, 4, 1, 0.05, "eager", ALL),
        ("fp32", 128, 512, 2, 2, 0.0, "eager", HEADS),
    ],
)
@pytest.mark.parametrize("lean", [False, True])
def test_activations_are_those_that_autograd_keeps(
    monkeypatch, precision, hidden, mlp, layers, questions, dropout, attention, adapted, lean
):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from thin import VIDEO, thin_base

    torch.manual_seed(0)
    base = thin_base(hidden, 400, query=64, mlp=mlp, layers=layers)
    if precision == "bf16":
        base.model.to(torch.bfloat16)
    patched = PatchedModel(base)
    lora = LoraSpec(rank=8, dropout=dropout, targets=adapted)
    maps = adapted_maps(base.model, lora, base.family, layers)
    assert len(maps) == len(adapted or range(7))
    attend_with(base, attention)
    patched.new_patch("audio", name="s", fusion={"hidden": 128}, lora=lora, seed=0)
    fusion = patched.patches["s"].fusion
    fusion.norm.weight.data.fill_(0.1)  # an open gate, so that all of it computes
    model = AnswerModel(patched).train()
    cells = 2 * 196
    tokens = torch.randn(cells + 1, hidden, dtype=base.dtype)
    visual = Visual(tokens, Layout(2, 14, 14, trail=1), torch.randn(2, 196, 64, dtype=base.dtype))
    side = Tokens(torch.randn(20, 1, 256), torch.arange(20.0, dtype=torch.float64))
    prompt = Prompt([VIDEO] * (cells + 1), [(list(range(10, 30)), list(range(30, 38)))])
    sequences = [pack([prompt] * questions)]
    positions, mask = positions_and_mask(sequences)
    keep, labels = targets(sequences)
    ids = torch.tensor([sequences[0].ids])
    inputs = {"input_ids": ids, "position_ids": positions, "attention_mask": mask}

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            times = [torch.arange(2.0)]
            model(TrainBatch(inputs, keep, labels, [visual], [{"s": side}], times))

    language = getattr(base.inner, base.family.language_model)
    with lean_layers(language) if lean else contextlib.nullcontext():
        measured = kept(step, patched.model.parameters())
    expected = Kept(
        text=base.config.get_text_config(),
        tokens=ids.shape[1],
        maps=maps,
        precision=precision,
        held=precision,
        dropout=dropout > 0,
        eager=attention == "eager",
        masked=True,
        lean=lean,
    ).total()
    expected += fusion_bytes([fusion.config], cells)
    assert expected == pytest.approx(measured, rel=0.15)


def test_cards_share_what_the_engine_cuts():
    """By hand: 1,000 bytes of a base, 5 trained numbers, 4 cards."""
    needs = Needs(base=1000, layers=800, layer=10, trained=5, activations=100, cache=1)
    alone = card_bytes(needs, Machines())
    assert alone == {
        "parameters": 1020,
        "gradients": 20,
        "optimiser": 40,
        "activations": 100,
        "cache": 1,
        "total": 1181,
    }
    ddp = card_bytes(needs, Machines(gpus=2, nodes=2))
    assert ddp == {**alone, "gradients": 40, "total": 1201}
    fsdp = card_bytes(needs, Machines(4, 1, "fsdp"))
    # Of 1,000 bytes 800 are layers, of which each holds a quarter, and two layers whole.
    cut = (200 + 200 + 20 + 20, 2 * 20, 40)
    assert (fsdp["parameters"], fsdp["gradients"], fsdp["optimiser"]) == cut
    zero3 = card_bytes(needs, Machines(4, 1, "zero3"))
    assert (zero3["parameters"], zero3["gradients"], zero3["optimiser"]) == (250 + 20 + 5, 5, 10)
    # A ring of four: each byte of a sum is sent 2 * 3/4 times, a gathered one 3/4 times a pass.
    assert sent_bytes(needs, Machines()) == 0
    assert sent_bytes(needs, Machines(4)) == 30
    assert sent_bytes(needs, Machines(4, 1, "fsdp")) == 30 + 1200


def test_several_cards_hold_less_of_a_7b_base():
    wanted = plan("V5_1_3_audio_languagebind_7B", batch=1)
    alone, cut = estimate(wanted), estimate(wanted, Machines(8, 1, "fsdp"))
    assert alone.card["total"] == pytest.approx(alone.memory["total"], rel=0.01)
    # Embeddings, head and tower are whole.
    assert cut.card["parameters"] < alone.card["parameters"] / 2
    assert cut.card["activations"] == alone.card["activations"]
    # Of a clip: 6,720 visual tokens of 3,584 numbers, 6,272 queries of 1,152, and 32 of sound.
    assert alone.cached == 2 * (6720 * 3584 + 6272 * 1152 + 32 * 1024)
    assert estimate(replace(wanted, questions=8)).card["total"] > alone.card["total"]
