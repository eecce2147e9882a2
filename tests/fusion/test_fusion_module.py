"""Promises of `Fusion`: ragged batches, empty channels, exact zeros, float32 under autocast."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pave.errors import ChannelError, ConfigError
from pave.fusion import Fusion, FusionConfig
from pave.fusion_costs import fusion_flops, fusion_parameters

SMALL = {"side_dim": 5, "query_dim": 6, "out_dim": 7, "hidden": 32, "heads": 2}
OPTIONS = [
    {},
    {"alignment": "groups"},
    {"alignment": "groups", "tie_kv": True, "memory": 12},
    {"alignment": "groups", "rope": "3d"},
    {"rope": "3d", "layers": 1},
    {"output_norm": False, "output_layers": 1, "out_dim": 64},
    {"output_norm": False, "output_layers": 0, "out_dim": 32},
    {"output_layers": 3, "out_dim": 64},
]


def trained(**options):
    """A fusion whose residuals are not zero, in float64 so that comparisons are sharp."""
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(**{**SMALL, **options})).double().eval()
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return fusion


def clip(shape, seed):
    frames, cells, steps, tokens = shape
    random = torch.Generator().manual_seed(seed)
    query = torch.randn(frames, cells, 6, generator=random, dtype=torch.float64)
    side = torch.randn(steps, tokens, 5, generator=random, dtype=torch.float64)
    times = [
        torch.rand(n, generator=random, dtype=torch.float64).mul(9).sort().values
        for n in (frames, steps)
    ]
    return query, side, *times


SQUARES = st.sampled_from([1, 4, 9])
SHAPES = st.lists(
    st.tuples(st.integers(1, 6), SQUARES, st.integers(0, 15), SQUARES), min_size=1, max_size=4
)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@settings(max_examples=15, deadline=None)
@given(shapes=SHAPES, timed=st.booleans())
def test_a_ragged_batch_is_its_clips_one_by_one_in_any_order(options, shapes, timed):
    fusion = trained(**options)
    clips = [clip(shape, seed) for seed, shape in enumerate(shapes)]

    def run(clips):
        query, side, query_times, side_times = zip(*clips, strict=True)
        return fusion(query, side, query_times, side_times) if timed else fusion(query, side)

    together = run(clips)
    assert [r.shape[:2] for r in together] == [c[0].shape[:2] for c in clips]
    for one, residual in zip(clips, together, strict=True):
        torch.testing.assert_close(run([one])[0], residual)
    for left, right in zip(run(clips[::-1])[::-1], together, strict=True):
        torch.testing.assert_close(left, right)


def reference(fusion, query, side, groups):
    """One frame, one head at a time, from the paper's description."""
    memory = fusion.side_map(side)
    frames = []
    for tokens, steps in zip(query, groups, strict=True):
        x, seen = fusion.query_map(tokens), memory[steps].flatten(0, 1)
        for block in fusion.blocks:
            attention = block.attention
            heads = []
            for part in torch.arange(32).chunk(2):
                q, k, v = (
                    m(t)[:, part]
                    for m, t in zip(
                        (attention.query, attention.key, attention.value),
                        (x, seen, seen),
                        strict=True,
                    )
                )
                heads.append((q @ k.T / math.sqrt(16)).softmax(-1) @ v)
            x = x + torch.cat(heads, -1)
            x = x + block.mlp(x)
        frames.append(fusion.norm(fusion.output(x)))
    return torch.stack(frames)


def test_against_loops_over_frames_and_heads():
    fusion = trained()
    query, side, _, _ = clip((3, 4, 7, 2), 1)
    times = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0.0, 1.2, 1.5, 2.9, 3.0, 9.0, 9.5])
    residual = fusion([query], [side], [times[0]], [times[1]])[0]
    torch.testing.assert_close(
        residual, reference(fusion, query, side, [[0, 1], [2, 3], [4, 5, 6]])
    )


@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
def test_other_clips_and_other_moments_do_not_matter(options):
    fusion = trained(**options)
    (q0, s0, *_), (q1, s1, *_) = clip((4, 4, 8, 1), 0), clip((2, 1, 9, 4), 1)
    before = fusion([q0, q1], [s0, s1])
    changed = s0.clone()
    changed[:2] = 1e3
    after = fusion([q0, q1], [changed, s1])
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[0][1:], after[0][1:])
    assert not torch.equal(before[0][0], after[0][0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
def test_a_fresh_fusion_returns_exact_zeros(options, dtype):
    fusion = Fusion(FusionConfig(**{**SMALL, **options})).to(dtype)
    query, side, query_times, side_times = clip((4, 9, 11, 4), 3)
    residual = fusion([query * 50], [side * 50], [query_times], [side_times])[0]
    assert residual.dtype == dtype and torch.equal(residual, torch.zeros(4, 9, 7, dtype=dtype))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_empty_channel_leaves_exact_zeros_and_spares_the_others(options):
    fusion = trained(**options)
    (q0, s0, *_), (q1, _, *_) = clip((3, 4, 5, 1), 0), clip((2, 9, 5, 1), 1)
    residuals = fusion([q1, q0, q1, q1], [None, s0, torch.zeros(0, 1, 5), torch.zeros(4, 0, 5)])
    for i in (0, 2, 3):
        assert torch.equal(
            residuals[i], torch.zeros(2, 9, fusion.config.out_dim, dtype=torch.float64)
        )
    torch.testing.assert_close(residuals[1], fusion([q0], [s0])[0])
    nothing = fusion([q0, q1], [None, None])
    assert not any(r.any() or r.requires_grad for r in nothing)
    assert fusion([], []) == []


def test_no_frames():
    fusion = trained()
    assert fusion([torch.zeros(0, 4, 6)], [torch.zeros(3, 1, 5)])[0].shape == (0, 4, 7)


def test_gradients_are_finite_beside_an_empty_channel_and_padding():
    fusion = trained(rope="3d")
    (q0, s0, *_), (q1, s1, *_) = clip((5, 4, 17, 1), 0), clip((2, 9, 1, 4), 1)
    inputs = [t.requires_grad_() for t in (q0, s0, q1, s1)]
    residuals = fusion([q0, q1, q1], [s0, s1, None])
    sum(r.square().sum() for r in residuals).backward()
    for tensor in [*inputs, *fusion.parameters()]:
        assert torch.isfinite(tensor.grad).all() and tensor.grad.any()


def test_float32_under_autocast():
    fusion = trained().float()
    query, side, *_ = clip((4, 4, 9, 1), 0)
    query, side = query.bfloat16(), side.bfloat16()
    plain = fusion([query], [side])[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fusion([query], [side])[0], plain)
    assert plain.dtype == torch.float32


def test_tied_value_projections_stay_frozen_and_idle():
    fusion = trained(tie_kv=True, start_end_tokens=True)
    fusion.requires_grad_(False).requires_grad_(True)
    query, side, *_ = clip((2, 1, 5, 1), 0)
    fusion([query], [side])[0].sum().backward()
    idle = {name for name, p in fusion.named_parameters() if p.grad is None}
    assert idle == {
        "markers",
        *(f"blocks.{i}.attention.value.{n}" for i in range(2) for n in ("weight", "bias")),
    }
    assert not any(p.requires_grad for name, p in fusion.named_parameters() if name in idle)
    trains = sum(p.numel() for p in fusion.parameters() if p.requires_grad)
    assert fusion_parameters(fusion.config, idle=False) == trains


def test_a_learnable_query_stands_for_the_frames():
    fusion = trained(alignment="groups", learnable_query=(4, 9))
    sides = [clip((1, 1, steps, 1), steps)[1] for steps in (3, 4, 11)]
    residuals = fusion([torch.zeros(1)] * 3, sides)
    assert [r.shape for r in residuals] == [(4, 9, 7)] * 3
    torch.testing.assert_close(fusion([torch.ones(1)], sides[2:])[0], residuals[2])


def test_rotary_positions_tell_order_within_a_group():
    query, side, *_ = clip((1, 4, 6, 1), 0)
    assert torch.allclose(*(trained()([query], [s])[0] for s in (side, side.flip(0))))
    assert not torch.allclose(*(trained(rope="3d")([query], [s])[0] for s in (side, side.flip(0))))


def test_dropout_acts_in_training_alone():
    fusion = trained(dropout=0.5)
    query, side, *_ = clip((2, 4, 5, 1), 0)
    assert torch.equal(fusion([query], [side])[0], fusion([query], [side])[0])
    fusion.train()
    assert not torch.equal(fusion([query], [side])[0], fusion([query], [side])[0])


@pytest.mark.parametrize(
    ("query", "side", "more", "words"),
    [
        ([(2, 1, 6)], [], {}, r"one entry of side tokens is needed per clip \(1\), got 0"),
        ([(2, 6)], [(3, 1, 5)], {}, r"query tokens must be \[T, S, 6\], got \(2, 6\)"),
        ([(2, 1, 6)], [(3, 1, 4)], {}, r"side tokens must be \[T, S, 5\]"),
        (
            [(2, 1, 6)],
            [(3, 1, 5)],
            {"query_times": [], "side_times": []},
            "one entry of query_times",
        ),
        ([(2, 3, 6)], [(3, 1, 5)], {}, "square grids of query tokens"),
    ],
)
def test_inputs_that_do_not_fit(query, side, more, words):
    with pytest.raises(ChannelError, match=words):
        trained(rope="3d")(
            [torch.zeros(shape) for shape in query], [torch.zeros(shape) for shape in side], **more
        )


@pytest.mark.parametrize(
    "options",
    [*OPTIONS, {"learnable_query": (3, 4), "alignment": "groups"}, {"layers": 5, "memory": 9}],
    ids=str,
)
def test_the_config_counts_the_parameters_of_the_module(options):
    config = FusionConfig(**{**SMALL, **options})
    assert fusion_parameters(config) == sum(p.numel() for p in Fusion(config).parameters())


@pytest.mark.parametrize("alignment", ["times", "groups"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("steps", [8, 16])
def test_the_config_counts_the_flops_of_the_module(alignment, tied, steps):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    config = FusionConfig(**SMALL, alignment=alignment, tie_kv=tied)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        Fusion(config).double()([torch.randn(8, 9, 6)], [torch.randn(steps, 4, 5)])
    assert counter.get_total_flops() == fusion_flops(
        config, frames=8, query_tokens=9, side_steps=steps, side_tokens=4
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"heads": 3}, "multiple of heads"),
        ({"heads": 4, "rope": "3d"}, "multiple of 16"),
        ({"output_layers": 0}, "out_dim = hidden"),
        ({"output_layers": 1}, "2 \\* hidden"),
        ({"learnable_query": (2, 2)}, "groups"),
    ],
)
def test_settings_that_contradict_each_other(options, words):
    with pytest.raises(ConfigError, match=words):
        FusionConfig(**{**SMALL, **options})


def test_settings_are_frozen_and_known():
    with pytest.raises(ValueError, match="frozen"):
        FusionConfig(**SMALL).hidden = 8
    with pytest.raises(ValueError, match="Extra inputs"):
        FusionConfig(**SMALL, hiden=8)
