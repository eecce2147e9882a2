"""What a training step takes of each card, by how a run is spread over cards.

ddp      every card holds the base and the patch; gradients are averaged in one piece
fsdp     the layers of the base's language model are cut into a share a card, everything else stays
         whole; one layer at a time, and the next, are gathered from all cards
zero3    DeepSpeed's: all of the base is cut, and the patch with its gradients and moments, too
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pave.train.kept import FP32

Engine = Literal["ddp", "fsdp", "zero3"]


@dataclass(frozen=True)
class Machines:
    """What a run is spread over.

    Attributes:
        gpus: Cards of a machine.
        nodes: Machines.
        engine: How they share the work.
    """

    gpus: int = 1
    nodes: int = 1
    engine: Engine = "ddp"

    @property
    def cards(self) -> int:
        """All cards."""
        return self.gpus * self.nodes


@dataclass(frozen=True)
class Needs:
    """Bytes of a step on one card alone.

    Attributes:
        base: Weights of the base.
        layers: Those of them in the layers of its language model.
        layer: Weights of its largest layer.
        trained: Parameters that are trained, in numbers.
        activations: Of all clips of the step.
        cache: Tokens of these clips, as they come from the token cache.
    """

    base: int
    layers: int
    layer: int
    trained: int
    activations: int
    cache: int


def card_bytes(needs: Needs, machines: Machines) -> dict[str, int]:
    """Bytes on each card: `parameters`, `gradients`, `optimiser`, `activations`, `cache`, `total`.

    Example:
        >>> alone = Needs(base=1000, layers=900, layer=10, trained=5, activations=100, cache=1)
        >>> card_bytes(alone, Machines())["total"]
        1181
    """
    cards = machines.cards
    base, share = needs.base, 1
    gradients = FP32 * needs.trained
    if cards > 1 and machines.engine != "zero3":
        gradients *= 2  # once more in the piece that is averaged
    if cards > 1 and machines.engine != "ddp":
        cut = needs.layers if machines.engine == "fsdp" else needs.base
        # The layer that computes and the one that is fetched are whole.
        base = base - cut + cut // cards + 2 * needs.layer
    if machines.engine == "zero3":
        share = cards
    found = {
        "parameters": base + FP32 * needs.trained // share,
        "gradients": gradients // share,
        "optimiser": 2 * FP32 * needs.trained // share,
        "activations": needs.activations,
        "cache": needs.cache,
    }
    found["total"] = sum(found.values())
    return found


def sent_bytes(needs: Needs, machines: Machines) -> int:
    """Bytes that each card sends in a step.

    A sum over cards goes round a ring twice; weights that are gathered go round once, in the
    forward and in the backward pass.
    """
    cards = machines.cards
    if cards == 1:
        return 0
    once = (cards - 1) / cards
    sent = 2 * once * FP32 * needs.trained
    if machines.engine != "ddp":
        sent += 2 * once * (needs.layers if machines.engine == "fsdp" else needs.base)
    return round(sent)
