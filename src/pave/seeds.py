"""Draws that follow from a seed, and leave everybody else's alone, those of other threads too.

PyTorch keeps one random state for all threads of a program. Whoever sets it, draws and sets it back
meets others who do the same: their numbers then depend on who came first.

    with seeded(0):          # layers, dropout: what draws from the one state; one at a time
        layer = nn.Linear(2, 2)

    with drawing_apart(model, 0):    # answers: draws of their own, at any time, in any thread
        model.generate(do_sample=True, ...)
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from pave.errors import ConfigError

_ONE_STATE = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """For the time of the context draws follow from a seed, and the caller's are left alone.

    One thread at a time is in such a context; who draws outside of one is not held up.

    Args:
        seed: None draws from the caller's random state.

    Raises:
        ConfigError: If it is no whole number of 64 bits.

    Example:
        >>> with seeded(3):
        ...     first = torch.rand(2)
        >>> with seeded(3):
        ...     assert torch.equal(torch.rand(2), first)
    """
    if seed is None:
        yield
        return
    if type(seed) is not int or not -(2**63) <= seed < 2**64:
        raise ConfigError(f"a seed must be a whole number of at most 64 bits, got {seed!r}")
    # Without a list of them PyTorch warns where there are several.
    devices = range(torch.cuda.device_count())
    with _ONE_STATE, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def drawing_apart(model: nn.Module, seed: int | None) -> Iterator[None]:
    """For the time of the context this thread draws tokens from a generator of its own.

    They are those that PyTorch's one state would give from that seed.

    Args:
        model: What gives the probabilities; while it computes them, nothing is in its way.
        seed: None draws from PyTorch's one state.
    """
    if seed is None:
        yield
        return
    draws = _Draws(seed)
    # Hooks of the model, not of its layers: they are called once a token.
    with (
        draws,
        model.register_forward_pre_hook(draws.leave),
        model.register_forward_hook(draws.enter, always_call=True),
    ):
        yield


class _Draws(TorchFunctionMode):
    """Gives `torch.multinomial`, by which `generate` of transformers draws, another generator.

    A mode holds for one thread. It costs some microseconds for each of PyTorch's functions, so it
    is off while a model runs.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch's, and one that draws with the generator."""
        given = dict(kwargs or {})
        # It is the one function of PyTorch's with which transformers draws, beams included.
        if func is torch.multinomial:
            given["generator"] = self._generator(args[0].device)
        return func(*args, **given)

    def _generator(self, device: torch.device) -> torch.Generator:
        """The generator of a device."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]

    def leave(self, *_: object) -> None:
        """A hook before the model runs."""
        self.__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def enter(self, *_: object) -> None:
        """A hook behind it."""
        self.__enter__()  # type: ignore[no-untyped-call]
