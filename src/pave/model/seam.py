"""The seam: the one place where residuals of patches are added to a base's visual tokens.

Hugging Face Video LLMs make their projected visual tokens in one method of the inner model
(`get_video_features`, or `get_image_features` for families that see a video as a run of images).
`forward()` and `generate()` both call it there, so a callable object that shadows it on the
instance reaches both, changes no weight, no module and no token count, and is removed by deleting
one instance attribute. With nothing to add it calls the original method with the very arguments it
got. Where a patch declares another order of tokens than Hugging Face's (`InputSpec`), the seam puts
them into that order, too.

Three details are load-bearing:

- `generate()` reads the method's signature to pick its arguments: the seam shows the original's
  `__signature__`.
- It is an object, not a closure, and looks the original up through `owner`: `copy.deepcopy` of the
  model re-binds the copy's seam to the copy instead of leaving it tied to the first model.
- A frozen tower runs under `no_grad`: `enable_input_require_grads` (called by gradient
  checkpointing) hooks the tower's patch embedding too and would keep the tower's whole graph in
  memory.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.bases.family import Family
from pave.bases.visual import Visual
from pave.errors import BaseError, ChannelError
from pave.tokens import Tokens

Side = Sequence[Mapping[str, Tokens]]


@dataclass
class Active:
    """One patch at the seam.

    Attributes:
        fusion: Called as `fusion(query, side, query_times, side_times)`, returns one `[T, S, D]`
            residual a clip.
        channel: The side channel it listens to.
        weight: Factor of its residual; 0 switches it off and costs nothing.
        query: Which of the base's tokens are the query.
    """

    fusion: nn.Module
    channel: str
    weight: float = 1.0
    query: Literal["pre_projector", "projected"] = "pre_projector"


class Seam:
    """Shadows the family's feature method on the inner model and adds what the active patches say.

    Attributes:
        patches: Name -> `Active`, in the order in which their residuals are summed.
        side: For one call, one mapping a clip (in placeholder order) from channel, or from the name
            of one patch, to tokens.
        times: For one call, `[T]` seconds of the token steps of each clip, or None for steps spread
            evenly.
        frames: For one call, raw frames of each clip, for families that see a video as a run of
            images.

    Raises:
        BaseError: If the model already carries a seam.

    Example:
        >>> seam = Seam(base)  # doctest: +SKIP
        >>> seam.patches["audio"] = Active(fusion, "audio")  # doctest: +SKIP
        >>> seam.side = [{"audio": tokens}]  # doctest: +SKIP
        >>> base.model(**inputs)  # doctest: +SKIP
    """

    def __init__(self, base: Any) -> None:
        self.base = base
        self.config: Any = base.model.config
        self.owner: nn.Module = base.model.model
        self.patches: dict[str, Active] = {}
        self.side: Side | None = None
        self.times: Sequence[Tensor] | None = None
        self.frames: Sequence[int] | None = None
        if self.family.method in self.owner.__dict__:
            raise BaseError(
                f"the model is already patched ({self.family.method} is shadowed); call unpatch() "
                "on its PatchedModel first"
            )
        self.owner.__dict__[self.family.method] = self

    @property
    def family(self) -> Family:
        """The family as it is fed now; a patch may have changed that since the seam was made."""
        family: Family = self.base.family
        return family

    @property
    def original(self) -> Callable[..., Any]:
        """The family's own method, bound to the model that this seam sits on."""
        method: Callable[..., Any] = getattr(type(self.owner), self.family.method).__get__(
            self.owner
        )
        return method

    @property
    def __signature__(self) -> inspect.Signature:
        """The original's signature; `generate()` picks the tower's arguments by it."""
        return inspect.signature(self.original)

    def detach(self) -> None:
        """Give the model its own method back."""
        if self.owner.__dict__.get(self.family.method) is self:
            del self.owner.__dict__[self.family.method]

    def clear(self) -> None:
        """Forget the side channel of the last call."""
        self.side = self.times = self.frames = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the tower; with a side channel set and a patch active, add the residuals to what it returns."""
        with self._guard():
            hears_nothing = self.side is None or not self._live()
            if hears_nothing and self.family.native:
                return self.original(*args, **kwargs)
            wants_dict = kwargs.pop("return_dict", None)
            output = self.original(*args, return_dict=True, **kwargs)
        arguments = self.__signature__.bind(*args, **kwargs).arguments
        visuals = self.family.split(
            self.config, output, arguments, self.frames, not hears_nothing and self.wants_query()
        )
        fused = self.family.join(self.config, self.fuse(visuals, self.side, self.times), output)
        return fused.to_tuple() if wants_dict is False else fused

    def wants_query(self) -> bool:
        """Whether any active patch reads the tower's tokens from before the projector."""
        return any(active.query == "pre_projector" for active in self._live().values())

    def fuse(
        self, visuals: Sequence[Visual], side: Side | None, times: Sequence[Tensor] | None = None
    ) -> list[Visual]:
        """Add every active patch's residual to the spatial tokens: `z + sum_i w_i * g_i(query, side)`.

        Residuals are summed in float32 and cast to the tokens' dtype last; newline and CLS tokens
        are never touched. Patches with weight 0 and clips without the channel are left out, so
        their tokens stay the base's own.

        Args:
            visuals: One `Visual` a clip.
            side: One mapping a clip, as the attribute of that name; None when the call has no side
                channel.
            times: `[T]` seconds of each clip's token steps, or None.

        Returns:
            New `Visual`s with the same layout; the very same objects where nothing was added.

        Raises:
            ChannelError: If the number of clips disagrees, or tokens have the wrong width.
        """
        visuals = list(visuals)
        if side is None:
            return visuals
        _check_clips("side channel entries", side, visuals)
        if times is not None:
            _check_clips("times", times, visuals)
        totals: dict[int, Tensor] = {}
        for name, active in self._live().items():
            heard = hears(side, name, active.channel)
            if not any(heard) and active.fusion.training:
                visuals[0] = _touch(visuals[0], active.fusion)
            if any(heard):
                _accumulate(
                    totals, _residuals(name, active, visuals, side, times, heard), active.weight
                )
        return [
            _add(visual, totals[i]) if i in totals else visual for i, visual in enumerate(visuals)
        ]

    def _live(self) -> dict[str, Active]:
        return {name: active for name, active in self.patches.items() if active.weight != 0}

    def _guard(self) -> contextlib.AbstractContextManager[Any]:
        if not torch.is_grad_enabled():  # the answer costs a walk over all parameters
            return contextlib.nullcontext()
        frozen = not any(
            p.requires_grad for p in encoder_parameters(self.owner, self.family.language_model)
        )
        return torch.no_grad() if frozen else contextlib.nullcontext()


def encoder_parameters(owner: nn.Module, language_model: str) -> list[nn.Parameter]:
    """Parameters of everything but the language model: tower, projector, newline.

    Args:
        owner: The inner model.
        language_model: Name of its language model's submodule.
    """
    children = [module for name, module in owner.named_children() if name != language_model]
    return [
        *owner.parameters(recurse=False),
        *(p for module in children for p in module.parameters()),
    ]


def tokens_of(entry: Mapping[str, Tokens], name: str, channel: str) -> Tokens | None:
    """A patch's tokens in one clip's mapping: under the patch's own name first, else under its channel; None when missing.

    The patch's name lets two patches listen to one channel through different encoders.
    """
    tokens = entry.get(name, entry.get(channel))
    return (
        tokens if tokens is not None and tokens.steps > 0 and tokens.values.shape[1] > 0 else None
    )


def hears(side: Side, name: str, channel: str) -> list[bool]:
    """For each clip, whether it has tokens for this patch."""
    return [tokens_of(entry, name, channel) is not None for entry in side]


def _residuals(
    name: str,
    active: Active,
    visuals: Sequence[Visual],
    side: Side,
    times: Sequence[Tensor] | None,
    heard: Sequence[bool],
) -> dict[int, Tensor]:
    """Clip index -> float32 `[T, S, D]` residual, for the clips that have the channel."""
    clips = [i for i, has in enumerate(heard) if has]
    found = [tokens_of(side[i], name, active.channel) for i in clips]
    weight = next(active.fusion.parameters())
    query = [_query(visuals[i], active.query).to(weight.device, weight.dtype) for i in clips]
    values = [
        tokens.values.to(weight.device, weight.dtype) for tokens in found if tokens is not None
    ]
    _check_width(name, active, values)
    if times is None:
        residuals = active.fusion(query, values)
    else:
        residuals = active.fusion(
            query, values, [times[i] for i in clips], [t.times for t in found if t is not None]
        )
    return dict(zip(clips, residuals, strict=True))


def _query(visual: Visual, kind: str) -> Tensor:
    if kind == "projected":
        return visual.grid()
    if visual.query is None:
        raise ChannelError(
            "the visual tokens hold no pre-projector tokens; make them with want_query=True"
        )
    return visual.query


def _accumulate(totals: dict[int, Tensor], residuals: Mapping[int, Tensor], weight: float) -> None:
    """Sum weighted residuals per clip; weight 1 is not multiplied, so that it cannot change a bit."""
    for clip, residual in residuals.items():
        weighted = residual if weight == 1 else residual * weight
        totals[clip] = totals[clip] + weighted if clip in totals else weighted


def _add(visual: Visual, residual: Tensor) -> Visual:
    """The clip with `residual` `[T, S, D]` added to its grid; CLS, newline, lead and trail tokens get an exact zero."""
    lay, tokens = visual.layout, visual.tokens
    if residual.shape != (lay.t, lay.spatial, tokens.shape[-1]):
        wanted = (lay.t, lay.spatial, tokens.shape[-1])
        raise ChannelError(
            f"a fusion returned {tuple(residual.shape)} for a grid of {wanted}; the patch does "
            "not fit this clip"
        )
    steps = residual.to(tokens.device, tokens.dtype)
    if lay.row:
        steps = F.pad(steps.unflatten(1, (lay.h, lay.w)), (0, 0, 0, lay.row)).flatten(1, 2)
    flat = F.pad(steps, (0, 0, lay.cls, lay.tail)).flatten(0, 1)
    return replace(visual, tokens=tokens + F.pad(flat, (0, 0, lay.lead, lay.trail)))


def _touch(visual: Visual, fusion: nn.Module) -> Visual:
    """Tie an unused fusion to the loss with a zero: distributed training waits for a gradient of every trainable parameter."""
    trainable = [p.sum() for p in fusion.parameters() if p.requires_grad]
    if not trainable or not torch.is_grad_enabled():
        return visual
    zero = torch.stack(trainable).sum() * 0
    return replace(
        visual, tokens=visual.tokens + zero.to(visual.tokens.device, visual.tokens.dtype)
    )


def _check_clips(what: str, given: Sequence[Any], visuals: Sequence[Visual]) -> None:
    if len(given) != len(visuals):
        raise ChannelError(
            f"{len(visuals)} clips were encoded but {len(given)} {what} given; give one a clip, "
            "in prompt order"
        )


def _check_width(name: str, active: Active, values: Sequence[Tensor]) -> None:
    wanted = getattr(getattr(active.fusion, "config", None), "side_dim", None)
    wrong = next(
        (v.shape[-1] for v in values if wanted is not None and v.shape[-1] != wanted), None
    )
    if wrong is not None:
        raise ChannelError(
            f"patch '{name}' reads {wanted} features a {active.channel} token, got {wrong}; use "
            "the patch's own encoder"
        )
