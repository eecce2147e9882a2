"""Every family on tiny random models: where tokens sit, splitting and joining, exact caching."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import tiny
from pave.bases import Base
from pave.errors import BaseError

GRID = (
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen2_5_omni_thinker",
    "qwen3_vl",
    "qwen3_vl_moe",
    "qwen3_omni_moe_thinker",
    "qwen3_5",
    "qwen3_5_moe",
    "glm4v",
    "glm4v_moe",
    "glm46v",
    "video_llama_3",
    "gemma4",
    "gemma4_unified",
    "minicpmv4_6",
    "minicpmv4_7",
)
ONE_LENGTH = tiny.ONE_LENGTH


@pytest.fixture(scope="module", params=tiny.FAMILIES)
def base(request: pytest.FixtureRequest) -> Base:
    """One tiny base of every family."""
    return tiny.base(request.param)


def call(base: Base, inputs: dict[str, Tensor]) -> tuple[Any, dict[str, Tensor]]:
    """The tower method's output for a batch, and its arguments."""
    method = getattr(base.inner, base.family.method)
    args = base.tower_arguments(inputs)
    with torch.no_grad():
        return method(**args, return_dict=True), args


def same(a: Any, b: Any) -> bool:
    """Equal containers of equal tensors, bit for bit."""
    if isinstance(a, Tensor) or a is None:
        return a is b or (isinstance(b, Tensor) and torch.equal(a, b))
    return (
        type(a) is type(b)
        and len(a) == len(b)
        and all(same(x, y) for x, y in zip(a, b, strict=True))
    )


def counts_for(base: Base) -> tuple[int, int]:
    """Two clip lengths that the family can batch."""
    return (4, 4) if base.family.name in ONE_LENGTH else (4, 3)


def test_split_and_join_are_inverse(base: Base) -> None:
    """The container comes back bit-equal, with and without the original at hand."""
    counts = counts_for(base)
    inputs = tiny.inputs(base, counts)
    output, args = call(base, inputs)
    visuals = base.family.split(output, args, list(counts), False)
    again = base.family.join(visuals, output)
    assert type(again) is type(output) and again is not output
    for container in (again, base.join(visuals)):
        assert same(container.pooler_output, output.pooler_output)
        assert same(
            getattr(container, "deepstack_features", None),
            getattr(output, "deepstack_features", None),
        )
    rest = {key: value for key, value in inputs.items() if key != base.family.pixels}
    with torch.no_grad():
        live = base.model(**inputs).logits
        cached = base.model(
            **rest, mm_encoder_outputs={base.family.modality: base.join(visuals)}
        ).logits
    assert torch.equal(live, cached)


def test_generation_from_cached_tokens_is_the_same(base: Base) -> None:
    """Greedy tokens with the tower and with its cached output."""
    made = tiny.clips(base, counts_for(base))
    prompts = [
        base.encode_prompt(clip.text, [("What" + "?" * row, None)]).ask()
        for row, clip in enumerate(made)
    ]
    options = {"max_new_tokens": 4, "do_sample": False}
    live = base.model.generate(**base.batch(prompts, made, pad="left"), **options)
    light = base.batch(prompts, made, pad="left", pixels=False)
    assert base.family.pixels not in light
    outputs = {base.family.modality: base.join(base.visual(made))}
    assert torch.equal(live, base.model.generate(**light, mm_encoder_outputs=outputs, **options))


def test_clips_of_different_lengths_in_one_batch(base: Base) -> None:
    """Through cached tokens every family can; each row gives what it gives alone."""
    made = tiny.clips(base, (4, 2))
    prompts = [base.encode_prompt(clip.text, [("What is it?", None)]).ask() for clip in made]
    visuals = base.visual(made)

    def logits(rows: list[int]) -> list[Tensor]:
        inputs = base.batch([prompts[r] for r in rows], [made[r] for r in rows], pixels=False)
        with torch.no_grad():
            out = base.model(
                **inputs,
                mm_encoder_outputs={base.family.modality: base.join([visuals[r] for r in rows])},
            ).logits
        return [out[i, : len(prompts[r])] for i, r in enumerate(rows)]

    together = logits([0, 1])
    for row in (0, 1):
        torch.testing.assert_close(together[row], logits([row])[0], atol=2e-5, rtol=1e-4)


def test_beams_over_clips_of_different_lengths(base: Base) -> None:
    """Beam search repeats each clip's tokens beside its own prompt; so does prefill in chunks."""
    made = tiny.clips(base, (4, 2))
    prompts = [base.encode_prompt(clip.text, [("Why?", None)]).ask() for clip in made]
    visuals = base.visual(made)

    def replies(rows: list[int], **options: int) -> Tensor:
        inputs = base.batch(
            [prompts[r] for r in rows], [made[r] for r in rows], pad="left", pixels=False
        )
        outputs = {base.family.modality: base.join([visuals[r] for r in rows])}
        with base.family.generating:  # GLM-4V's beams need it
            ids = base.model.generate(
                **inputs, mm_encoder_outputs=outputs, max_new_tokens=4, do_sample=False, **options
            )
        return torch.as_tensor(ids)[:, -4:]

    alone = [replies([row], num_beams=2) for row in (0, 1)]
    assert torch.equal(replies([0, 1], num_beams=2), torch.cat(alone))
    if base.family.name in ONE_LENGTH:
        assert torch.equal(replies([0, 1], prefill_chunk_size=16), replies([0, 1]))


def test_live_batches_of_different_lengths_or_a_clear_error(base: Base) -> None:
    """The families that stack clips say what to do instead."""
    if base.family.name in ONE_LENGTH:
        with pytest.raises(BaseError, match="one length"):
            tiny.inputs(base, (4, 2))
        return
    output, args = call(base, tiny.inputs(base, (4, 2)))
    visuals = base.family.split(output, args, [4, 2], True)
    for visual, clip in zip(visuals, tiny.clips(base, (4, 2)), strict=True):
        alone = base.visual([clip])[0]
        assert visual.layout == alone.layout
        torch.testing.assert_close(visual.tokens, alone.tokens, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(visual.query, alone.query, atol=2e-5, rtol=1e-4)


def test_placeholders_count_the_tokens(base: Base) -> None:
    """As many placeholders as tokens reach the model, and times and query fit the layout."""
    for clip in tiny.clips(base, (4, 3, 1)):
        (visual,) = base.visual([clip])
        placeholders = base.encode_prompt(clip.text, []).prefix.count(base.placeholder_id)
        assert placeholders == visual.layout.total == visual.tokens.shape[0]
        assert clip.times.shape == (visual.layout.t,)
        assert clip.frames == visual.layout.t * base.family.frames_per_step
        assert visual.tokens.shape[1] == base.hidden_dim
        assert visual.query is not None
        assert visual.query.shape == (visual.layout.t, visual.layout.spatial, base.query_dim)
        assert visual.grid().shape == (visual.layout.t, visual.layout.spatial, base.hidden_dim)


def moved(base: Base, change: Any, count: int = 6) -> tuple[Tensor, Tensor]:
    """How far tokens and query move, `[T, h, w]` each, when the frames of a clip are changed."""
    frames = tiny.frames(count, 56, 112)
    pixels = frames.pixels.clone()
    change(pixels)
    (before,) = base.visual([base.clip(frames)])
    (after,) = base.visual([base.clip(tiny.Frames(pixels, frames.times))])
    shape = (before.layout.t, before.layout.h, before.layout.w)
    assert before.query is not None and after.query is not None
    query = (after.query - before.query).norm(dim=-1).reshape(shape)
    return (after.grid() - before.grid()).norm(dim=-1).reshape(shape), query


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_one_frame_moves_one_step(base: Base, frame: int) -> None:
    """Time runs along the first axis: changing a frame moves its own step and no other."""

    def change(pixels: Tensor) -> None:
        pixels[frame] = 255 - pixels[frame]

    step = frame // base.family.frames_per_step
    for distance in moved(base, change):
        steps = distance.amax(dim=(1, 2)) > 1e-4
        assert steps.nonzero().flatten().tolist() == [step]


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_corner_moves_that_corner_most(base: Base, corner: tuple[int, int]) -> None:
    """Tokens and query alike are row-major, also where the grid is not square."""
    down, right = corner

    def change(pixels: Tensor) -> None:
        rows = slice(42, 56) if down else slice(0, 14)
        cols = (
            slice(76, 104) if right else slice(8, 36)
        )  # inside the centre that LLaVA-NeXT-Video cuts out
        if base.config.model_type in GRID:
            cols = slice(98, 112) if right else slice(0, 14)
        if base.family.name == "llava_next_video":
            cols = slice(70, 84) if right else slice(28, 42)
        pixels[2:4, :, rows, cols] = 255 - pixels[2:4, :, rows, cols]

    tokens, query = moved(base, change)
    h, w = tokens.shape[1:]
    if base.config.model_type in GRID:
        assert (h, w) == (2, 4)
    for distance in (query, tokens):
        place = divmod(int(distance[2 // base.family.frames_per_step].argmax()), w)
        assert place == (down * (h - 1), right * (w - 1))


@pytest.mark.parametrize(
    ("family", "projector"),
    [("llava_next_video", "multi_modal_projector"), ("video_llama_3", "projector")],
)
def test_the_query_is_what_the_projector_sees(family: str, projector: str) -> None:
    """Where the projector reads pooled tokens, projecting the query gives the tokens."""
    base = tiny.base(family)
    (visual,) = base.visual(tiny.clips(base, (3,)))
    assert visual.query is not None
    with torch.no_grad():
        projected = getattr(base.inner, projector)(visual.query).flatten(0, 1)
    torch.testing.assert_close(projected, visual.tokens)


def test_the_query_is_pooled_as_the_tokens_are() -> None:
    """LLaVA-OneVision: the projector's input, pooled with the model's own pooling."""
    base, seen = tiny.base("llava_onevision"), []
    hook = base.inner.multi_modal_projector.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    (visual,) = base.visual(tiny.clips(base, (3,)))
    hook.remove()
    assert visual.query is not None and torch.equal(visual.query, base.inner.apply_pooling(seen[0]))


def test_lora_reaches_the_language_model_only(base: Base) -> None:
    """Default targets are every projection of the language model, and nothing of the tower."""
    linears = [name for name, module in base.model.named_modules() if isinstance(module, nn.Linear)]
    inside = [name for name in linears if name.startswith(f"model.{base.family.language_model}.")]
    assert inside and not [
        name for name in inside if "vision" in name or "visual" in name or "tower" in name
    ]
    hit = [name for name in inside if name.rsplit(".", 1)[1] in base.family.lora_targets]
    # Linear attention: two projections in and one out; those of its gates stay as they are.
    endings = ("_proj", "in_proj_qkv", "in_proj_z")
    # Other names are taken for experts by peft.
    if base.config.model_type in ("glm4v_moe", "qwen3_omni_moe_thinker"):
        endings = ("q_proj", "k_proj", "v_proj", "o_proj")
    assert hit == [name for name in inside if name.endswith(endings)] and len(hit) >= 2 * 4


def test_the_base_is_frozen_and_says_what_it_is(base: Base) -> None:
    """No gradients, eval mode, and a fingerprint of plain values."""
    assert not base.model.training and not any(p.requires_grad for p in base.model.parameters())
    print_of = base.fingerprint()
    assert print_of["family"] == base.family.name and print_of["hidden_dim"] == tiny.HIDDEN
    assert all(isinstance(value, (str, int)) for value in print_of.values())


def test_half_precision_works(base: Base) -> None:
    """Pixels follow the model's type; times and grids do not."""
    made = tiny.base(base.config.model_type)
    made.model.to(torch.bfloat16)
    inputs = tiny.inputs(made, (2, 2))
    with torch.no_grad():
        assert made.model(**inputs).logits.dtype == torch.bfloat16
    assert made.visual(tiny.clips(made, (2,)))[0].tokens.dtype == torch.bfloat16


def test_windows_are_undone_on_odd_grids() -> None:
    """Qwen2.5-VL's windows do not divide the grid: the query still follows the tokens."""
    base = tiny.base("qwen2_5_vl")
    for block in base.model.model.visual.blocks:
        for parameter in block.parameters():
            parameter.data.zero_()
    frames = tiny.frames(2, 84, 140)
    settings = base.settings.model_copy(update={"max_pixels": 84 * 140})
    base.settings = settings
    (visual,) = base.visual([base.clip(frames)])
    assert (visual.layout.h, visual.layout.w) == (3, 5) and visual.query is not None
    pixels = frames.pixels.clone()
    for row, col in ((0, 4), (2, 0), (1, 3)):
        changed = pixels.clone()
        changed[:, :, row * 28 : row * 28 + 28, col * 28 : col * 28 + 28] = 0
        (other,) = base.visual([base.clip(tiny.Frames(changed, frames.times))])
        assert other.query is not None
        for a, b in ((visual.query, other.query), (visual.grid(), other.grid())):
            assert (a - b).norm(dim=-1)[0].nonzero().flatten().tolist() == [row * 5 + col]


def test_seconds_of_a_step_reach_the_positions() -> None:
    """Qwen2.5-VL: half the frame rate means twice the seconds a step."""
    base = tiny.base("qwen2_5_vl")
    for fps, seconds in ((2.0, 1.0), (1.0, 2.0)):
        assert base.clip(tiny.frames(5, fps=fps)).pixels["second_per_grid_ts"].tolist() == [seconds]


def test_dropped_tokens_are_not_in_the_text() -> None:
    """VideoLLaMA3 drops tokens of still pictures; prompt and model agree on how many are left."""
    base = tiny.base("video_llama_3")
    frames = tiny.frames(3)
    still = tiny.Frames(frames.pixels[:1].expand(3, -1, -1, -1).clone(), frames.times)
    clip = base.clip(still)
    prompt = base.encode_prompt(clip.text, [("What?", None)]).ask()
    assert prompt.count(base.placeholder_id) == 4 + 1 + 1
    with torch.no_grad():
        assert base.model(**base.batch([prompt], [clip])).logits.shape[1] == len(prompt)


def test_an_empty_frame_is_not_taken_for_padding() -> None:
    """SmolVLM drops all-zero frames; a black frame of settings with mean 0 must stay."""
    base = tiny.base("smolvlm")
    base.settings = base.settings.model_copy(update={"mean": (0.0, 0.0, 0.0)})
    frames = tiny.frames(3)
    frames.pixels[1] = 0
    (visual,) = base.visual([base.clip(frames)])
    assert visual.layout.t == 3
