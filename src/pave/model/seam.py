"""The seam: the one place where residuals of patches are added to a base's visual tokens.

Hugging Face Video LLMs make their projected visual tokens in one method of the inner model
(`get_video_features`, or `get_image_features` for families that see a video as a run of images).
`forward()` and `generate()` both call it there, so a callable object that shadows it on the
instance reaches both, changes no weight, no module and no token count, and is removed by deleting
one instance attribute. With nothing to add it calls the original method with the very arguments it
got. Where a patch declares another order of tokens than Hugging Face's (`InputSpec`), the seam puts
them into that order, too.

What belongs to one call (the clips' side tokens and times) comes to the seam in a `Call` held by a
context variable. Each thread sees its own, so two threads that ask one model never meet each
other's tokens, and a plain call of the base's model meets none.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.bases import Base
from pave.bases.plain import check_plain
from pave.bases.visual import Visual
from pave.errors import BaseError, ChannelError
from pave.model.appended import append_tokens
from pave.patches.parts import Part
from pave.patches.patch import Patch, Side
from pave.texts import counted
from pave.tokens import Tokens


@dataclass(frozen=True)
class Call:
    """What one call of a patched model brings to its seam.

    Attributes:
        side: One mapping a clip (in placeholder order) from channel, or from the name of one patch,
            to tokens; None when the call has no side channel.
        times: `[T]` seconds of the token steps of each clip, or None for steps spread evenly.
        frames: Raw frames of each clip, for families that see a video as a run of images.
        patches: The patches at the weights that the call has chosen; None for the model's own.
    """

    side: Side | None = None
    times: Sequence[Tensor] | None = None
    frames: Sequence[int] | None = None
    patches: Mapping[str, Patch] | None = None


_NOTHING = Call()
_CALL: ContextVar[Call] = ContextVar("pave_call", default=_NOTHING)


@contextlib.contextmanager
def calling(call: Call) -> Iterator[None]:
    """For the time of the context, and in this thread alone, seams work on this call."""
    token = _CALL.set(call)
    try:
        yield
    finally:
        _CALL.reset(token)


class Seam:
    """Shadows the family's feature method on the inner model and adds what the patches say.

    Args:
        base: The base; its inner model gets the seam.
        patches: Patches by name, in the order in which their residuals are summed; the seam looks
            at them anew in every call.

    Raises:
        BaseError: If the model already carries a seam, or something that is not plain (see
            `pave.bases.plain`).

    Example:
        >>> seam = Seam(base, model.patches)  # doctest: +SKIP
        >>> with calling(Call(side=[{"audio": tokens}])):  # doctest: +SKIP
        ...     base.model(**inputs)
    """

    def __init__(self, base: Base, patches: Mapping[str, Patch]) -> None:
        self.base = base
        self.patches = patches
        self.owner: nn.Module = base.inner
        method = base.family.method
        if method in self.owner.__dict__:
            raise BaseError(
                f"the model is already patched ({method} is shadowed); call unpatch() on its "
                "PatchedModel first"
            )
        check_plain(base.model, cut=base.cut)
        # `generate()` picks the tower's arguments by it.
        self.__signature__ = inspect.signature(self.original)
        self.owner.__dict__[method] = self

    @property
    def original(self) -> Callable[..., Any]:
        """The family's own method, bound to the model that this seam sits on."""
        method: Callable[..., Any] = getattr(type(self.owner), self.base.family.method).__get__(
            self.owner
        )
        return method

    def detach(self) -> None:
        """Give the model its own method back."""
        if self.owner.__dict__.get(self.base.family.method) is self:
            del self.owner.__dict__[self.base.family.method]

    # A compiler takes the method that is shadowed for the one that shadows it, for ever.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the tower; where the call has side channels and a patch is on, add the residuals."""
        call = _CALL.get()
        patches = self.patches
        if call.patches is not None:  # the call has chosen others
            patches = call.patches
        queries: set[str] = set()  # none: nothing is added
        if call.side is not None:
            queries = _queries_of(patches)
        with self._guard():
            if not queries and self.base.family.native:  # nothing to add, nothing to arrange
                return self.original(*args, **kwargs)
            wants_dict = kwargs.pop("return_dict", None)
            output = self.original(*args, return_dict=True, **kwargs)
        arguments = self.__signature__.bind(*args, **kwargs).arguments
        family = self.base.family
        visuals = family.split(output, arguments, call.frames, "pre_projector" in queries)
        fused = family.join(self.fuse(visuals, call.side, call.times, patches), output)
        return fused.to_tuple() if wants_dict is False else fused

    def fuse(
        self,
        visuals: Sequence[Visual],
        side: Side | None,
        times: Sequence[Tensor] | None = None,
        patches: Mapping[str, Patch] | None = None,
    ) -> list[Visual]:
        """Add every active patch's residual to the grid: `z + sum_i w_i * g_i(query, side)`.

        Residuals are summed in float32 and cast to the tokens' dtype last; newline and CLS tokens
        are never touched. Patches with weight 0 and clips without the channel are left out, so
        their tokens stay the base's own.

        Args:
            visuals: One `Visual` a clip.
            side: One mapping a clip; None when the call has no side channel.
            times: `[T]` seconds of each clip's token steps, or None.
            patches: The patches at other weights than the model's own.

        Returns:
            New `Visual`s with the same layout; the very same objects where nothing was added.

        Raises:
            ChannelError: If the number of clips disagrees, or tokens have the wrong width.
        """
        visuals = list(visuals)
        if side is None:
            return visuals
        _must_be_one_a_clip(len(visuals), side, times)
        totals: dict[int, Tensor] = {}  # clip -> float32 [T, S, D]
        working = self.patches if patches is None else patches
        for patch in working.values():
            if patch.weight == 0:
                continue
            for part in patch.parts.values():
                if part.spec.fusion.appends:
                    spoke = append_tokens(visuals, patch, part, side)
                else:
                    spoke = _add_residuals(totals, patch, part, visuals, side, times=times)
                if not spoke and part.fusion.training:
                    visuals[0] = _touch(visuals[0], part.fusion)
        for number, total in totals.items():
            visuals[number] = add_to_grid(visuals[number], total)
        return visuals

    def _guard(self) -> contextlib.AbstractContextManager[Any]:
        """No graph for a tower in which nothing trains."""
        if not torch.is_grad_enabled():  # the answer costs a walk over all parameters
            return contextlib.nullcontext()
        parameters = encoder_parameters(self.owner, self.base.family.language_model)
        if any(parameter.requires_grad for parameter in parameters):
            return contextlib.nullcontext()
        return torch.no_grad()


def encoder_parameters(owner: nn.Module, language_model: str) -> list[nn.Parameter]:
    """Parameters of everything but the language model: tower, projector, newline.

    Args:
        owner: The inner model.
        language_model: Name of its language model's submodule.
    """
    found = list(owner.parameters(recurse=False))
    for name, module in owner.named_children():
        if name != language_model:
            found += module.parameters()
    return found


def _must_be_one_a_clip(clips: int, side: Side, times: Sequence[Tensor] | None) -> None:
    """Refuse side tokens or times that are not those of the clips."""
    if not isinstance(side, Sequence) or isinstance(side, str | bytes):
        raise ChannelError(
            "side channels must be a list of mappings from channel to Tokens, one per clip, "
            f"got a {type(side).__name__}"
        )
    for what, given in (("side channel entries", side), ("times", times)):
        if given is not None and len(given) != clips:
            raise ChannelError(
                f"{what}: got {len(given)} for {counted(clips, 'encoded clip')}; give one per "
                "clip, in the order of the prompts"
            )


def _queries_of(patches: Mapping[str, Patch]) -> set[str]:
    """What the fusions at work read of a clip: `FusionSettings.query` of each."""
    found: set[str] = set()
    for patch in patches.values():
        if patch.weight == 0:
            continue
        for part in patch.parts.values():
            found.add(part.spec.fusion.query)
    return found


def _add_residuals(
    totals: dict[int, Tensor],
    patch: Patch,
    part: Part,
    visuals: Sequence[Visual],
    side: Side,
    *,
    times: Sequence[Tensor] | None,
) -> bool:
    """Add what a patch says of each clip that has one of its channels, times the patch's weight.

    Returns:
        Whether any clip has it.
    """
    fusion = part.fusion
    place = next(fusion.parameters())  # its device and type: float32, whatever the base is
    clips, query, values, moments = [], [], [], []  # of the clips that have the channel
    for clip, given in enumerate(side):
        tokens = patch.tokens_in(given).get(part.channel)
        if tokens is None or tokens.muted:
            continue
        _must_be_as_wide(tokens, patch, part)
        seen = _query_of(visuals[clip], part)
        clips.append(clip)
        query.append(seen.to(place.device, place.dtype))  # [T, S, C_q]
        values.append(tokens.values.to(place.device, place.dtype))  # [T_k, S_k, C]
        moments.append(tokens.times)
    if not clips:
        return False
    # Without times both sides are spread evenly over the same duration.
    if times is None:
        residuals = fusion(query, values)
    else:
        residuals = fusion(query, values, [times[clip] for clip in clips], moments)
    for clip, residual in zip(clips, residuals, strict=True):
        # Weight 1 is not multiplied, so that it cannot change a bit.
        if patch.weight != 1:
            residual = residual * patch.weight
        if clip in totals:
            residual = totals[clip] + residual
        totals[clip] = residual
    return True


def _must_be_as_wide(tokens: Tokens, patch: Patch, part: Part) -> None:
    """Refuse side tokens of another encoder than the fusion was made for."""
    width = tokens.values.shape[-1]
    wanted = part.spec.fusion.side_dim
    if width != wanted:
        raise ChannelError(
            f"patch '{patch.name}' expects {wanted} features per {part.channel} token, got "
            f"{width}; use the patch's own encoder"
        )


def _query_of(visual: Visual, part: Part) -> Tensor:
    """`[T, S, C_q]`: what a fusion reads of a clip, behind the projector or before it."""
    if part.spec.fusion.query == "projected":
        return visual.grid()
    if visual.query is None:
        raise ChannelError(
            "the visual tokens hold no pre-projector tokens; make them with want_query=True"
        )
    return visual.query


def add_to_grid(visual: Visual, residual: Tensor) -> Visual:
    """The clip with `residual` `[T, S, D]` added to its grid.

    CLS, newline, lead and trail tokens get an exact zero.
    """
    layout, tokens = visual.layout, visual.tokens
    wanted = (layout.t, layout.h * layout.w, tokens.shape[-1])
    if residual.shape != wanted:
        raise ChannelError(
            f"a fusion returned {tuple(residual.shape)} instead of {wanted}; its fusion does not "
            "fit this clip"
        )
    steps = residual.to(tokens.device, tokens.dtype)
    if layout.row:  # newlines after each row
        rows = steps.unflatten(1, (layout.h, layout.w))  # [T, h, w, D]
        steps = F.pad(rows, (0, 0, 0, layout.row)).flatten(1, 2)
    steps = F.pad(steps, (0, 0, layout.cls, layout.tail))  # [T, tokens of a step, D]
    flat = F.pad(steps.flatten(0, 1), (0, 0, layout.lead, layout.trail))  # [tokens of the clip, D]
    return replace(visual, tokens=tokens + flat)


def _touch(visual: Visual, fusion: nn.Module) -> Visual:
    """Tie an unused fusion to the loss with a zero.

    Distributed training waits for a gradient of every trainable parameter.
    """
    trainable = [p.sum() for p in fusion.parameters() if p.requires_grad]
    if not trainable or not torch.is_grad_enabled():
        return visual
    zero = torch.stack(trainable).sum() * 0
    tokens = visual.tokens + zero.to(visual.tokens.device, visual.tokens.dtype)
    return replace(visual, tokens=tokens)
