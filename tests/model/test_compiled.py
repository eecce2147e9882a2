"""A compiler changes no answer: it leaves the patched call alone, or the call is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import CompileConfig

from helpers import tiny_patch
from pave.errors import PatchError


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
@pytest.mark.parametrize("part", ["patched", "language model"])
def test_compiled_calls_give_the_same_logits(family: str, part: str) -> None:
    case = tiny_patch.case(family)
    tiny_patch.add(case.model)
    own, mixed = case.run(), case.run([case.side[0], {}])
    torch._dynamo.reset()
    model: Any = case.model
    if part == "patched":
        model = torch.compile(case.model, backend="eager")
    else:
        case.base.inner.language_model.compile(backend="eager")

    def run(side: Any) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = model(side, case.times, **case.inputs).logits
        return logits

    assert torch.equal(run(case.side), own)
    if part == "patched":
        assert torch.equal(run([case.side[0], {}]), mixed)
    else:  # its code has no place for a mask of rows
        with pytest.raises(PatchError, match="part of the base is compiled"):
            run([case.side[0], {}])
    assert torch.equal(run(None), case.logits)
    assert torch.equal(run(case.side), own)


def compile_model(base: Any) -> None:
    base.model.forward = torch.compile(base.model.forward, backend="eager")


def compile_layers(base: Any) -> None:
    for layer in base.inner.language_model.layers:
        layer.forward = torch.compile(layer.forward, backend="eager")


def compile_tower(base: Any) -> None:
    """It has no LoRA, so nothing is in the way of a mask."""
    tower = base.inner.vision_tower
    tower.forward = torch.compile(tower.forward, backend="eager")


@pytest.mark.parametrize("compiling", [compile_model, compile_layers, compile_tower])
def test_a_forward_that_is_compiled_by_itself(compiling: Any) -> None:
    """Transformers' own pages do it so; a row without the channel got the LoRA."""
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    own, mixed = case.run(), case.run([case.side[0], {}])
    torch._dynamo.reset()
    compiling(case.base)
    assert torch.equal(case.run(), own)
    if compiling is compile_tower:
        assert torch.equal(case.run([case.side[0], {}]), mixed)
        return
    with pytest.raises(PatchError, match="part of the base is compiled"):
        case.run([case.side[0], {}])
    assert torch.equal(case.run(None), case.logits)


def test_generation_that_compiles_by_itself_gives_the_same_answers() -> None:
    """On a GPU with a static cache transformers compiles on the way."""
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    torch._dynamo.reset()
    compiling = CompileConfig(backend="eager", fullgraph=False)
    compiling._compile_all_devices = True
    options = {"max_new_tokens": 6, "do_sample": False, "cache_implementation": "static"}
    for side in (case.side, [case.side[0], {}], [{}, case.side[1]], None, case.side):
        arguments = {"channels": side, "times": case.times, **case.inputs, **options}
        expected = case.model.generate(**arguments)
        found = case.model.generate(**arguments, compile_config=compiling)
        assert torch.equal(found, expected)
