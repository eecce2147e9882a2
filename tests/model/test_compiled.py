"""A compiler changes no answer: it leaves the patched call alone, or the call is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

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
