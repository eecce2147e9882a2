"""What questions that share one prefix need of a base: positions, and attention that allows it.

Behind a shared prefix every question must stand where it would stand alone. For most families that
is the number of tokens before it. The Qwen families place tokens on three axes (time, height,
width); a question then starts where the family's own rule puts the first token behind the clip,
which is neither the number of tokens nor the largest position plus one.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor

from pave.bases.base import Base
from pave.bases.visual import Clip


def prefix_positions(
    base: Base, prefixes: Sequence[Sequence[int]], clips: Sequence[Clip], behind: int = 1
) -> list[Tensor]:
    """Positions of every prefix token and of the first text tokens behind it.

    Args:
        base: The base.
        prefixes: Ids of each clip's prefix.
        clips: The clips, in the same order; their pixels are not read.
        behind: How many tokens behind a prefix.

    Returns:
        `[A, P + behind]` for each prefix of P tokens, on the CPU: A = 3 axes for families with
        multi-axial positions, else 1. They are int64, or float32 where a family's are fractions
        (Qwen3-Omni's); such a one is not counted on from the first, since it is rounded.

    Example:
        >>> prefix_positions(base, [prompt.prefix], [clip])[0][:, -1]  # doctest: +SKIP
        tensor([39])
    """
    if not base.family.mrope:
        return [torch.arange(len(prefix) + behind)[None] for prefix in prefixes]
    text = base.stop_ids[0]  # any text token: it stands for those of a question
    questions = [text] * behind
    inputs = base.batch([[*prefix, *questions] for prefix in prefixes], clips, pixels=False)
    # The model's own rule; each family takes other arguments of the batch.
    rule = base.inner.get_rope_index
    # The Omni models have two names for one thing.
    if "video_second_per_grid" in inputs:
        inputs["second_per_grids"] = inputs["video_second_per_grid"]
    wanted = inspect.signature(rule).parameters
    known = {key: value for key, value in inputs.items() if key in wanted}
    positions, _ = rule(**known)  # [3, B, L]
    found = []
    for row, prefix in enumerate(prefixes):
        end = len(prefix) + behind  # without the padding on the right
        found.append(positions[:, row, :end].cpu())
    return found


def why_no_shared_prefix(base: Base) -> str | None:
    """Why this base cannot take several questions behind one prefix; None where it can.

    A question must see the prefix and itself and nothing between. That takes a mask and positions
    for each token. A sliding window counts the tokens between instead of the positions, and a
    recurrent layer carries the state of one question into the next, so neither would give what
    separate sequences give. Nor would a causal mask, where visual tokens see each other both ways.
    """
    if base.family.both_ways:
        return f"{base.name} has attention in both directions between visual tokens"
    text = base.config.get_text_config()
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        slides = getattr(text, "sliding_window", None)
        kinds = ["sliding_attention" if slides else "full_attention"]
    other = sorted({kind for kind in kinds if kind != "full_attention"})
    if not other:
        return None
    return (
        f"{base.name} has layers of kind {', '.join(other)}, which would carry one question into "
        "the next"
    )
