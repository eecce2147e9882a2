"""Which patches work, and how strongly, for one call alone: `generate(..., patches={...})`.

The model itself is not changed, so that threads may ask it with different patches at the same time.
What a call chose is seen by that call only; the layers, which all calls share, have its weights
while it holds the model's lock.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from pave.bases import Base
from pave.channels import Encoder
from pave.patches.fit import check_weights
from pave.patches.patch import Patch

if TYPE_CHECKING:
    from pave.model.model import PatchedModel

Weights = Mapping[str, float]
"""Patch name -> weight; patches that are not named are off."""


def chosen(patches: Mapping[str, Patch], weights: Weights) -> dict[str, Patch]:
    """The patches at other weights: views that share fusions and LoRAs with them.

    Raises:
        PatchError: If a patch is unknown or a weight is not a finite number.
    """
    check_weights(weights, patches)
    views = {}
    for name, patch in patches.items():
        view = copy.copy(patch)  # not its modules: the weight alone is the view's own
        view.weight = float(weights.get(name, 0.0))
        views[name] = view
    return views


def taken_by(patches: Mapping[str, Patch]) -> dict[str, list[str]]:
    """Patch -> those at work that go on with its LoRA, hence take its place."""
    taken: dict[str, list[str]] = {}
    for patch in patches.values():
        if patch.weight == 0:  # a patch that is off takes nobody's place
            continue
        for base_patch in patch.config.base_patches:
            if base_patch.lora == "continued":
                taken.setdefault(base_patch.name, []).append(patch.name)
    return taken


@contextlib.contextmanager
def weighted(views: Mapping[str, Patch], patches: Mapping[str, Patch]) -> Iterator[None]:
    """For the time of the context the LoRAs have the views' weights, then the patches' own.

    Whoever enters it holds the model's lock.
    """
    try:
        _weigh(views)
        yield
    finally:
        _weigh(patches)


def _weigh(patches: Mapping[str, Patch]) -> None:
    for patch in patches.values():
        if patch.lora is not None and patch.weight != 0:  # at 0 it is off, whatever its scale
            patch.lora.set_weight(patch.weight)


class Chosen:
    """A patched model with a choice of patches of its own; it answers as any other.

    Args:
        model: The model; it is not changed.
        weights: Which of its patches work, and how strongly; None is what the model says now, even
            if it is told something else in the middle of a stream.

    Attributes:
        patches: Views of the model's patches, at these weights.

    Raises:
        PatchError: If a patch is unknown or a weight is not a finite number.

    Example:
        >>> ask(Chosen(model, {"sound": 0.5}), film, ["What?"], ...)  # doctest: +SKIP
    """

    def __init__(self, model: PatchedModel, weights: Weights | None) -> None:
        if weights is None:
            weights = {name: patch.weight for name, patch in model.patches.items()}
        self.patches: Mapping[str, Patch] = chosen(model.patches, weights)
        self._model = model
        self._weights = dict(weights)

    @property
    def base(self) -> Base:
        """The model's base."""
        return self._model.base

    @property
    def training(self) -> bool:
        """Whether the model trains."""
        return self._model.training

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """The model's."""
        return self._model.lock

    def encoder(self, name: str, channel: str | None = None) -> Encoder | None:
        """The encoder of one patch's channel, which the model keeps."""
        return self._model.encoder(name, channel)

    def train(self, mode: bool = True) -> Any:
        """The model's own mode."""
        return self._model.train(mode)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward with these patches."""
        return self._model(*args, patches=self._weights, **kwargs)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The model's `generate` with these patches."""
        return self._model.generate(*args, patches=self._weights, **kwargs)
