"""For all tests: no time limit for property tests, and not every family in the fast ones.

Other work may share the machine, hence no time limit.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch.nn.attention import flex_attention

from helpers import tiny

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def flex_on_cpu(monkeypatch):
    """FlexAttention with gradients on a CPU, which only PyTorch's uncompiled reference has."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr("pave.train.attention.DEVICES", ("cpu",))
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is asked of every family is a slow test but for those of `tiny.USUAL`.

    Each family costs half a minute in all; `check_family`, the heart of it, is asked of all.
    """
    rest = {*tiny.FAMILIES} - {*tiny.USUAL}
    for item in items:
        parameters = getattr(item, "callspec", None)
        if parameters is None or item.path.name == "test_check_family.py":
            continue
        for value in parameters.params.values():
            # "qwen3_5_moe", or "qwen3_5_moe-bf16"
            if str(value).partition("-")[0] in rest:
                item.add_marker(pytest.mark.slow)
