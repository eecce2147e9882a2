"""`AnsweringModel`: what answering needs of a model; `pave.PatchedModel` is one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pave.bases import Base
from pave.channels import Encoder
from pave.patches.patch import Patch


class AnsweringModel(Protocol):
    """A base with patches that generates and lets one caller at a time at its layers."""

    @property
    def training(self) -> bool:
        """Whether it is in training mode."""
        ...

    @property
    def base(self) -> Base:
        """The base."""
        ...

    @property
    def patches(self) -> Mapping[str, Patch]:
        """The patches on it, by name."""
        ...

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held while the layers that all callers share are not what they usually are."""
        ...

    def encoder(self, name: str, channel: str | None = None) -> Encoder | None:
        """The encoder of one patch's channel."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Training mode, or eval mode."""
        ...

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The base's forward with the patches at work."""
        ...

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's `generate` with the patches at work."""
        ...
