"""Training a patch: settings in, patch folder out; resumable, reproducible, on a CPU or many GPUs.

Example:
    >>> from pave.train import load_config, train
    >>> train(load_config("recipe.yaml", {"seed": 1}))  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pave.lazy import callable_package, lazy_names

if TYPE_CHECKING:
    from pave.train.config import TrainConfig
    from pave.train.counterfactual import Counterfactual
    from pave.train.result import TrainResult
    from pave.train.run import train
    from pave.train.settings import load_config

_HOMES = {
    "Counterfactual": "pave.train.counterfactual",
    "TrainConfig": "pave.train.config",
    "TrainResult": "pave.train.result",
    "load_config": "pave.train.settings",
    "train": "pave.train.run",
}

__all__ = ["Counterfactual", "TrainConfig", "TrainResult", "load_config", "train"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)

callable_package(__name__, "train")
