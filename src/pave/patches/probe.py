"""`Probe`: what a patched base says to a fixed input, kept to see whether it still says so.

The hashes in `patch.json` guard the patch's own files. A probe also shows what they do not: another
base under the same name, other versions of the libraries, a device that computes wrongly.
Processors round differently, so a hash alone would cry wolf; some of the logits are kept too, and
are compared within what rounding explains.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:  # settings of patches are read without torch
    from torch import Tensor

KEPT = 32
"""Logits of a probe that are kept, evenly spread over the vocabulary."""
ROUNDING = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.01}
"""Share of the largest logit by which two processors may differ, by the base's type."""

Verdict = Literal["equal", "same within rounding", "different"]


class Probe(BaseModel):
    """Logits of a base without and with a patch, on an input that follows from a seed.

    Example:
        >>> import torch
        >>> made = take_probe(torch.zeros(64), torch.ones(64), "float32", seed=0)
        >>> compare_probes(made, made).verdict
        'equal'
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = Field(
        1, description="Version of the rule that makes the input from the seed."
    )
    seed: int = Field(description="Seed of the frames and of the side tokens.")
    dtype: str = Field(description="Floating-point type of the base, such as float32.")
    digest: str = Field(description="sha256 of all logits, base's and patch's, as float32.")
    largest: float = Field(description="Largest absolute value of all logits.")
    moved: float = Field(description="Largest difference that the patch made to a kept logit.")
    base: list[float] = Field(
        max_length=KEPT, description="Some logits of the base without the patch."
    )
    patch: list[float] = Field(max_length=KEPT, description="The same with the patch.")


class ProbeMatch(BaseModel):
    """What came of comparing two probes.

    Attributes:
        verdict: In words.
        base: Largest difference of a kept logit without the patch.
        patch: The same with the patch.
        tolerance: Differences up to here are rounding.
        moved: Largest difference that the patch itself makes.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    base: float
    patch: float
    tolerance: float
    moved: float

    def told(self) -> str:
        """The verdict in a line."""
        if self.verdict == "equal":
            return "equal bit for bit"
        line = (
            f"{self.verdict}: logits differ by at most {self.patch:.2g} with the patch and "
            f"{self.base:.2g} without it; up to {self.tolerance:.2g} is rounding"
        )
        if self.moved <= self.tolerance:
            line += f" (the patch itself moves them by {self.moved:.2g}, so this says little of it)"
        elif self.base > self.tolerance:
            line += "; the base differs from the one that the patch was saved on"
        return line


def take_probe(base: Tensor, patch: Tensor, dtype: str, seed: int) -> Probe:
    """Make a probe of logits.

    Args:
        base: `[vocabulary]` logits of the base.
        patch: `[vocabulary]` logits with the patch.
        dtype: Floating-point type that they were computed in.
        seed: Of the input.
    """
    import torch

    both = torch.stack([base, patch]).float().cpu()  # [2, V]
    digest = hashlib.sha256(both.numpy().tobytes())
    places = torch.linspace(0, both.shape[1] - 1, min(KEPT, both.shape[1])).long()
    kept = both[:, places]
    return Probe(
        seed=seed,
        dtype=dtype,
        digest=digest.hexdigest(),
        largest=_short(both.abs().max()),
        moved=_short((kept[1] - kept[0]).abs().max()),
        base=list(map(_short, kept[0])),
        patch=list(map(_short, kept[1])),
    )


def _short(number: Tensor) -> float:
    """Six digits, which is finer than any rounding that is forgiven."""
    return float(f"{float(number):.6g}")


def compare_probes(saved: Probe, now: Probe) -> ProbeMatch:
    """Judge a probe that was taken now by the one that a patch holds."""
    base = _largest_gap(saved.base, now.base)
    patch = _largest_gap(saved.patch, now.patch)
    # Of two types the coarser one decides.
    share = max(ROUNDING.get(saved.dtype, 0.05), ROUNDING.get(now.dtype, 0.05))
    tolerance = share * saved.largest
    verdict: Verdict = "different"
    if saved.digest == now.digest:
        verdict = "equal"
    elif max(base, patch) <= tolerance:
        verdict = "same within rounding"
    return ProbeMatch(
        verdict=verdict, base=base, patch=patch, tolerance=tolerance, moved=saved.moved
    )


def _largest_gap(saved: Sequence[float], now: Sequence[float]) -> float:
    """Largest difference; infinite for vocabularies of other sizes, or a NaN."""
    if len(saved) != len(now):
        return math.inf
    gaps = [abs(one - other) for one, other in zip(saved, now, strict=True)]
    if not all(map(math.isfinite, gaps)):
        return math.inf
    return max(gaps, default=0.0)
