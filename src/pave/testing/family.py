"""`check_family`: what a family must keep for patches to work on it, checked on a tiny base."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pave.bases import Base, Visual
from pave.media import Frames
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.testing.tiny import tiny_base, tiny_clips, tiny_frames, tiny_inputs
from pave.tokens import Tokens

SIDE_DIM = 6


def check_family(family: str | Base) -> None:
    """Hold a family to the promises that pave makes for its own.

    Args:
        family: A base of it, best a tiny one with spread weights (`pave.testing.tiny`), or the
            `model_type` of one of pave's own families.

    Raises:
        AssertionError: In words, at the first promise that does not hold.

    Example:
        >>> check_family("internvl")
    """
    base = tiny_base(family) if isinstance(family, str) else family
    check_placeholders(base)
    check_cached_tokens(base)
    check_batches(base)
    check_order_in_time(base)
    check_order_in_space(base)
    check_seam(base)
    check_fresh_patch(base)


def check_placeholders(base: Base) -> None:
    """As many placeholders as tokens; times, frames and query fit the layout."""
    for clip in tiny_clips(base, (4, 3, 1)):
        (visual,) = base.visual([clip])
        layout = visual.layout
        in_prompt = base.encode_prompt(clip.text, []).prefix.count(base.placeholder_id)
        _equal(in_prompt, layout.total, "placeholders in the prompt, and tokens of the layout")
        _equal(tuple(visual.tokens.shape), (layout.total, base.hidden_dim), "shape of the tokens")
        _equal(tuple(clip.times.shape), (layout.t,), "times of a clip, and its token steps")
        frames = layout.t * base.family.frames_per_step
        _equal(clip.frames, frames, "frames of a clip, and frames of its token steps")
        _must(visual.query is not None, "split gives no query although it was asked for one")
        assert visual.query is not None
        wanted = (layout.t, layout.spatial, base.query_dim)
        _equal(tuple(visual.query.shape), wanted, "shape of the query")


@torch.no_grad()
def check_cached_tokens(base: Base) -> None:
    """Visual tokens made beforehand give the logits of pixels."""
    clips = tiny_clips(base, (4, 4))
    inputs = tiny_inputs(base, (4, 4))
    light = {key: value for key, value in inputs.items() if key != base.family.pixels}
    seen = {base.family.modality: base.join(base.visual(clips))}
    live = base.model(**inputs).logits
    cached = base.model(**light, mm_encoder_outputs=seen).logits
    # The tower ran once on the batch and once clip by clip, which may round differently.
    _close(cached, live, "logits from cached visual tokens, and from pixels")


def check_batches(base: Base) -> None:
    """Clips of one batch come out of `split` as they do alone."""
    clips = tiny_clips(base, (4, 4))
    together = base.join(base.visual(clips))
    again = base.family.split(together, _arguments(base, clips), [4, 4], False)
    for visual, clip in zip(again, clips, strict=True):
        (alone,) = base.visual([clip])
        _equal(visual.layout, alone.layout, "layout of a clip in a batch, and alone")
        _must(
            torch.equal(visual.tokens, alone.tokens),
            "split(join(visuals)) gives other tokens than the visuals had",
        )


def _arguments(base: Base, clips: list[Any]) -> dict[str, Tensor]:
    """The tower's arguments for a batch of clips."""
    inputs = tiny_inputs(base, [clip.frames for clip in clips])
    return {key: inputs[key] for key in clips[0].pixels}


def check_order_in_time(base: Base) -> None:
    """Another frame moves the tokens and the query of its own step, and of no other."""
    for frame in (0, 3, 5):

        def change(pixels: Tensor, frame: int = frame) -> None:
            pixels[frame] = 255 - pixels[frame]

        step = frame // base.family.frames_per_step
        for what, distance in _moved(base, change).items():  # [T, h, w]
            steps = (distance.amax(dim=(1, 2)) > 1e-4).nonzero().flatten().tolist()
            _equal(steps, [step], f"steps whose {what} moved with frame {frame}, and its own step")


def check_order_in_space(base: Base) -> None:
    """Another quarter of the picture moves that quarter of tokens and query most (row-major)."""
    for down in (0, 1):
        for right in (0, 1):

            def change(pixels: Tensor, down: int = down, right: int = right) -> None:
                height, width = pixels.shape[-2] // 2, pixels.shape[-1] // 2
                part = pixels[
                    2:4,
                    :,
                    down * height : (down + 1) * height,
                    right * width : (right + 1) * width,
                ]
                part.copy_(255 - part)

            for what, distance in _moved(base, change).items():
                step = distance[2 // base.family.frames_per_step]  # [h, w]
                row, column = divmod(int(step.argmax()), step.shape[1])
                place = (row * 2 >= step.shape[0], column * 2 >= step.shape[1])
                wanted = (bool(down), bool(right))
                _equal(place, wanted, f"quarter (lower, right) whose {what} moved most")


def _moved(base: Base, change: Callable[[Tensor], None]) -> dict[str, Tensor]:
    """How far tokens and query move, `[T, h, w]` each, when frames are changed in place."""
    frames = tiny_frames(6, 56, 112)
    pixels = frames.pixels.clone()
    change(pixels)
    (before,) = base.visual([base.clip(frames)])
    (after,) = base.visual([base.clip(Frames(pixels, frames.times))])
    shape = (before.layout.t, before.layout.h, before.layout.w)
    assert before.query is not None
    assert after.query is not None
    query = (after.query - before.query).norm(dim=-1).reshape(shape)
    return {"tokens": (after.grid() - before.grid()).norm(dim=-1).reshape(shape), "query": query}


def _patched(base: Base) -> PatchedModel:
    """The base with one fresh patch on tokens of six features."""
    model = PatchedModel(base)
    fusion = {"side_dim": SIDE_DIM, "hidden": 16}
    model.new_patch("audio", encoder=None, fusion=fusion, lora=LoraSpec(rank=2, alpha=4), seed=1)
    return model


def _side() -> Tokens:
    generator = torch.Generator().manual_seed(3)
    times = torch.tensor([0.2, 0.6, 1.0, 1.4, 1.8], dtype=torch.float64)
    return Tokens(torch.randn(5, 1, SIDE_DIM, generator=generator), times)


def _wake(model: PatchedModel) -> None:
    """Random weights instead of the fresh ones, which change nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.normal_(0, 0.2, generator=generator)


@torch.no_grad()
def check_seam(base: Base) -> None:
    """Residuals reach every spatial token of the layout and nothing else."""
    (clip,) = tiny_clips(base, (4,))
    (visual,) = base.visual([clip])
    model = _patched(base)
    try:
        _wake(model)
        (fused,) = model.seam.fuse([visual], [{"audio": _side()}], [clip.times])
    finally:
        model.unpatch()
    places = torch.arange(visual.layout.total)[:, None]  # each token's own number
    spatial = Visual(places, visual.layout).grid().flatten().tolist()
    moved = (fused.tokens != visual.tokens).any(1).nonzero().flatten().tolist()
    _equal(moved, spatial, "tokens that got a residual, and spatial tokens of the layout")


@torch.no_grad()
def check_fresh_patch(base: Base) -> None:
    """A fresh patch changes no logit; an awake one changes some, and never their number."""
    clips, inputs = tiny_clips(base, (4, 4)), tiny_inputs(base, (4, 4))
    plain = base.model(**inputs).logits
    side, times = [{"audio": _side()}] * 2, [clip.times for clip in clips]
    model = _patched(base)
    try:
        fresh = model(side, times, **inputs).logits
        _wake(model)
        awake = model(side, times, **inputs).logits
    finally:
        model.unpatch()
    _must(torch.equal(fresh, plain), "a fresh patch changes the base's logits")
    _equal(tuple(awake.shape), tuple(plain.shape), "logits with a patch, and without")
    _must(not torch.equal(awake, plain), "a patch with random weights changes nothing")
    again = base.model(**inputs).logits
    _must(torch.equal(again, plain), "the base is another one after unpatch()")


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _equal(found: object, wanted: object, what: str) -> None:
    _must(found == wanted, f"{what}: {found} is not {wanted}")


def _close(found: Tensor, wanted: Tensor, what: str) -> None:
    difference = float((found - wanted).abs().max())
    _must(difference <= 2e-5, f"{what}: {difference} apart")
