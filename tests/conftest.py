"""For all tests: property tests have no time limit, because other work may share the machine."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings
from torch.nn.attention import flex_attention

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture
def flex_on_cpu(monkeypatch):
    """FlexAttention with gradients on a CPU, which only PyTorch's uncompiled reference has."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr("pave.train.attention.DEVICES", ("cpu",))
    with torch.compiler.set_stance("force_eager"):
        yield
