"""Trackers: programs that show curves of runs, through the Trainer's own callbacks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pave.errors import ConfigError

_TENSORBOARD = "TENSORBOARD_LOGGING_DIR"


def check_trackers(names: Sequence[str]) -> None:
    """Make sure that the packages of trackers are here, before clips are encoded.

    Raises:
        ConfigError: If one is not installed; it says what to install.
    """
    for name in names:
        if find_spec(name) is None:
            raise ConfigError(
                f"track={name} needs the package {name}; install it: "
                f"pip install 'video-pave[{name}]'"
            )


@contextmanager
def tracking(folder: Path) -> Iterator[None]:
    """Let TensorBoard write into the run folder, unless the environment names another place.

    The other trackers have a place of their own, where people look for all their runs.
    """
    if _TENSORBOARD in os.environ:
        yield
        return
    os.environ[_TENSORBOARD] = str(folder / "tensorboard")
    try:
        yield
    finally:
        del os.environ[_TENSORBOARD]
