"""For all tests: no time limit for property tests, no registration that outlives its test.

And not every family in the fast ones.

Other work may share the machine, hence no time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import settings
from torch.nn.attention import flex_attention

from helpers import tiny
from pave.bases.families import FAMILIES
from pave.channels.registry import ENCODERS
from pave.cli.app import main
from pave.fusion_registry import FUSIONS
from pave.registry import Registry
from pave.tasks.registry import TASKS

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def registrations_end_with_their_test() -> Iterator[None]:
    """What a test registers is forgotten after it; the next test may list what there is."""
    registries: list[Registry] = [ENCODERS, FAMILIES, FUSIONS, TASKS]
    before = [registry.registered() for registry in registries]
    yield
    for registry, known in zip(registries, before, strict=True):
        # Pave's modules are imported once in a process: what they registered since has to stay.
        own = {
            name: thing for name, thing in registry.registered().items() if name in registry._own
        }
        registry._registered = {**own, **known}


@pytest.fixture
def flex_on_cpu(monkeypatch):
    """FlexAttention with gradients on a CPU, which only PyTorch's uncompiled reference has."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr("pave.train.attention.DEVICES", ("cpu",))
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Run `pave` with these words in this process: exit code, stdout, stderr."""
    from transformers.utils import logging

    # As the environment that `main` sets does where transformers is not loaded yet.
    logging.disable_progress_bar()
    monkeypatch.delenv("PAVE_DEBUG", raising=False)

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return run


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
