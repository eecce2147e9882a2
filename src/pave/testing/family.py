"""`check_family`: what a family must keep for patches to work on it, checked on a tiny base."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pave.bases import Base, Visual
from pave.media import Frames
from pave.model import PatchedModel
from pave.patches import LoraSpec
from pave.testing.tiny import tiny_base, tiny_clips, tiny_frames, tiny_inputs
from pave.tokens import Tokens

SIDE_DIM = 6  # C of the side tokens; any width will do
SIZE = (6, 56, 112)  # frames, height, width: twice as wide as high, to tell rows from columns


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
    base = family
    if isinstance(base, str):
        base = tiny_base(base)
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
        prefix = base.encode_prompt(clip.text, []).prefix
        in_prompt = prefix.count(base.placeholder_id)
        _equal(in_prompt, layout.total, "placeholders in the prompt, and tokens of the layout")
        _shaped(visual.tokens, (layout.total, base.hidden_dim), "tokens")
        _shaped(clip.times, (layout.t,), "times of a clip, which has one time per token step")
        # After padding: an odd number of frames is filled up where steps merge two.
        frames = layout.t * base.family.frames_per_step
        _equal(clip.frames, frames, "frames of a clip, and frames of its token steps")
        query = _query(visual)
        _shaped(query, (layout.t, layout.spatial, base.query_dim), "query")


@torch.no_grad()
def check_cached_tokens(base: Base) -> None:
    """Visual tokens made beforehand give the logits of pixels."""
    clips = tiny_clips(base, (4, 4))
    inputs = tiny_inputs(base, (4, 4))
    live = base.model(**inputs).logits  # [B, L, vocabulary]
    visuals = base.visual(clips)
    seen = {base.family.modality: base.join(visuals)}
    # Grids stay: positions on several axes come from them, not from the pixels.
    del inputs[base.family.pixels]
    cached = base.model(**inputs, mm_encoder_outputs=seen).logits
    # The tower ran once on the batch and once clip by clip, which may round differently.
    _close(cached, live, "logits from cached visual tokens, and from pixels")


def check_batches(base: Base) -> None:
    """Clips of one batch come out of `split` as they do alone."""
    clips = tiny_clips(base, (4, 4))
    visuals = base.visual(clips)  # the tower takes a clip at a time
    together = base.join(visuals)
    inputs = tiny_inputs(base, (4, 4))
    # What the tower is called with: the inputs without those of the language model.
    arguments = {key: inputs[key] for key in clips[0].pixels}
    again = base.family.split(together, arguments, [4, 4], False)
    for visual, clip in zip(again, clips, strict=True):
        (alone,) = base.visual([clip])
        _equal(visual.layout, alone.layout, "layout of a clip in a batch, and alone")
        same = torch.equal(visual.tokens, alone.tokens)  # [total, D]
        _must(same, "split(join(visuals)) changes the tokens of the visuals")


def check_order_in_time(base: Base) -> None:
    """Another frame moves the tokens and the query of its own step, and of no other."""
    # The first frame, the last one, and the second half of a step where two are merged.
    for frame in (0, 3, 5):
        frames = tiny_frames(*SIZE)
        changed = frames.pixels.clone()  # [F, 3, H, W]
        changed[frame] = 255 - changed[frame]
        step = frame // base.family.frames_per_step
        for what, distance in _moved(base, frames, changed).items():
            farthest = distance.amax(dim=(1, 2))  # [T]
            has_moved = farthest > 1e-4  # anything less is rounding
            steps = _numbers(has_moved)
            _equal(steps, [step], f"steps whose {what} moved with frame {frame}, and its own step")


def check_order_in_space(base: Base) -> None:
    """Another quarter of the picture moves that quarter of tokens and query most (row-major)."""
    for lower, right in itertools.product((False, True), repeat=2):
        frames = tiny_frames(*SIZE)
        changed = frames.pixels.clone()  # [F, 3, H, W]
        # Frames 2 and 3 make a step of their own, whether steps merge two frames or none.
        pair = changed[2:4]
        rows = _half(pair, -2, lower)
        quarter = _half(rows, -1, right)  # a view: [2, 3, H / 2, W / 2]
        quarter.copy_(255 - quarter)
        step = 2 // base.family.frames_per_step
        for what, distance in _moved(base, frames, changed).items():
            cells = distance[step]  # [h, w]
            height, width = cells.shape
            # Attention carries the change into the other quarters too, but less of it.
            farthest = int(cells.argmax())
            row, column = divmod(farthest, width)
            place = (row * 2 >= height, column * 2 >= width)
            _equal(place, (lower, right), f"quarter (lower, right) whose {what} moved most")


def _half(pixels: Tensor, axis: int, second: bool) -> Tensor:
    """The first or second half along an axis, as a view."""
    length = pixels.shape[axis] // 2
    start = length * second
    return pixels.narrow(axis, start, length)


def _moved(base: Base, frames: Frames, pixels: Tensor) -> dict[str, Tensor]:
    """How far other pixels move tokens and query, `[T, h, w]` each."""
    clips = [
        base.clip(frames),
        base.clip(Frames(pixels, frames.times)),
    ]
    before, after = base.visual(clips)
    changes = {
        "tokens": after.grid() - before.grid(),  # [T, S, D]
        "query": _query(after) - _query(before),  # [T, S, C_q]
    }
    places = (before.layout.h, before.layout.w)
    distances = {}
    for what, change in changes.items():
        flat = change.norm(dim=-1)  # [T, S]
        distances[what] = flat.unflatten(1, places)
    return distances


def _patched(base: Base) -> PatchedModel:
    """The base with one fresh patch on tokens of six features."""
    model = PatchedModel(base)
    fusion = {"side_dim": SIDE_DIM, "hidden": 16}
    lora = LoraSpec(rank=2, alpha=4)
    model.new_patch("audio", encoder=None, fusion=fusion, lora=lora, seed=1)
    return model


def _side() -> Tokens:
    """Five steps in time, one token each, between the times of frames and not on them."""
    generator = torch.Generator().manual_seed(3)
    times = torch.tensor([0.2, 0.6, 1.0, 1.4, 1.8], dtype=torch.float64)
    values = torch.randn(5, 1, SIDE_DIM, generator=generator)  # [T, S, C]
    return Tokens(values, times)


def _wake(model: PatchedModel) -> None:
    """Random weights instead of the fresh ones, which change nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.normal_(0, 0.2, generator=generator)  # what starts at 0 hides the rest


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
        # The base is the caller's: a seam left on it would spoil the checks that follow.
        model.unpatch()
    # Each token's own number in place of its features, so that `grid` tells which ones it takes.
    numbers = torch.arange(visual.layout.total)
    numbered = Visual(numbers[:, None], visual.layout)
    spatial = numbered.grid().flatten().tolist()
    differs = fused.tokens != visual.tokens  # [total, D]
    moved = _numbers(differs.any(1))
    _equal(moved, spatial, "tokens with a residual, and spatial tokens of the layout")


@torch.no_grad()
def check_fresh_patch(base: Base) -> None:
    """A fresh patch changes no logit; an awake one changes some, and never their number."""
    clips = tiny_clips(base, (4, 4))
    inputs = tiny_inputs(base, (4, 4))
    plain = base.model(**inputs).logits  # [B, L, vocabulary]
    side = [{"audio": _side()}] * 2
    times = [clip.times for clip in clips]
    model = _patched(base)
    try:
        fresh = model(side, times, **inputs).logits
        _wake(model)
        awake = model(side, times, **inputs).logits
    finally:
        model.unpatch()
    # To the bit: adding a zero residual must not even round.
    _must(torch.equal(fresh, plain), "a fresh patch changes the base's logits")
    _shaped(awake, tuple(plain.shape), "logits with a patch")
    _must(not torch.equal(awake, plain), "a patch with random weights changes nothing")
    again = base.model(**inputs).logits
    _must(torch.equal(again, plain), "unpatch() does not restore the base")


def _query(visual: Visual) -> Tensor:
    """Its tower tokens, `[T, S, C_q]`."""
    if visual.query is None:
        raise AssertionError("split gives no query although it was asked for one")
    return visual.query


def _numbers(flags: Tensor) -> list[int]:
    """Where `[N]` flags are set."""
    found: list[int] = flags.nonzero().flatten().tolist()
    return found


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _equal(found: object, wanted: object, what: str) -> None:
    _must(found == wanted, f"{what}: {found} instead of {wanted}")


def _shaped(found: Tensor, wanted: tuple[int, ...], what: str) -> None:
    _equal(tuple(found.shape), wanted, f"shape of the {what}")


def _close(found: Tensor, wanted: Tensor, what: str) -> None:
    difference = (found - wanted).abs()
    farthest = float(difference.max())
    _must(farthest <= 2e-5, f"{what}: {farthest} apart")
