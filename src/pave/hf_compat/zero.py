"""DeepSpeed's ZeRO-2: where an engine keeps this process's share of weights and gradients."""

from __future__ import annotations

from typing import Any


def zero_shares(engine: Any) -> list[Any]:
    """This process's share of the weights, one flat tensor for each group of the optimiser.

    The weights of a group lie behind one another in their order, are filled up with zeros, and cut
    into equal parts. The optimiser's state has these tensors as keys.

    Checked with DeepSpeed 0.19.8.
    """
    return list(engine.optimizer.single_partition_of_fp32_groups)


def zero_norm(engine: Any) -> float:
    """Norm of the averaged gradients before they are clipped, between backward and step.

    Checked with DeepSpeed 0.19.8.
    """
    return float(engine.optimizer.scaled_global_norm())


def refresh_zero(engine: Any) -> None:
    """Let the share that is trained be what the weights are now. Checked with DeepSpeed 0.19.8."""
    engine.optimizer.refresh_fp32_params()
