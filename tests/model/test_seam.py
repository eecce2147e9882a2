"""The seam by itself: where residuals land, how they are summed, how it comes and goes."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from helpers import tiny, tiny_patch
from pave.bases.visual import Layout, Visual
from pave.errors import BaseError, ChannelError
from pave.model.seam import Call, Seam, calling
from pave.patches.patch import Patch
from pave.tokens import Tokens


class Constant(nn.Module):
    """A fusion that answers one number everywhere."""

    def __init__(self, value: float, dim: int) -> None:
        super().__init__()
        self.value, self.dim = nn.Parameter(torch.tensor(value)), dim
        self.asked: list[Any] = []

    def forward(self, query: Sequence[Tensor], side: Sequence[Tensor], *times: Any) -> list[Tensor]:
        """`[T, S, dim]` of the value for each clip."""
        self.asked.append((len(query), times))
        return [self.value.expand(*q.shape[:2], self.dim) for q in query]


def listening(
    fusion: nn.Module, channel: str = "audio", weight: float = 1.0, name: str = "a"
) -> Patch:
    """A patch with that fusion."""
    return tiny_patch.alone(name, channel, fusion, weight=weight)


def visual(layout: Layout, dim: int = 4, dtype: torch.dtype = torch.float32) -> Visual:
    """Random tokens in a layout."""
    query = torch.randn(layout.t, layout.spatial, 3)
    return Visual(torch.randn(layout.total, dim).to(dtype), layout, query, (torch.randn(2, dim),))


@functools.cache
def shared_seam() -> Seam:
    """One seam on one tiny base, for tests that only fuse."""
    return Seam(tiny.base(), {})


@pytest.fixture
def seam() -> Seam:
    """The shared seam without patches."""
    shared_seam().patches = {}
    return shared_seam()


LAYOUTS = st.builds(
    Layout,
    t=st.integers(1, 4),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
    cls=st.integers(0, 2),
    lead=st.integers(0, 2),
    trail=st.integers(0, 2),
)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(LAYOUTS, st.booleans()), min_size=1, max_size=3),
    st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_only_the_grid_of_clips_with_the_channel_changes(
    clips: list[tuple[Layout, bool]], dtype: torch.dtype
) -> None:
    seam = shared_seam()
    seam.patches = {"a": listening(Constant(1.0, 4).eval())}
    visuals = [visual(layout, dtype=dtype) for layout, _ in clips]
    side = [{"audio": tiny_patch.tokens(2)} if has else {} for _, has in clips]
    for before, after, (layout, has) in zip(visuals, seam.fuse(visuals, side), clips, strict=True):
        if not has:
            assert after is before
            continue
        assert torch.equal(after.grid(), before.grid() + 1)
        changed = (after.tokens != before.tokens).any(1).sum()
        assert int(changed) == layout.t * layout.spatial
        assert after.tokens.dtype == dtype
        assert after.extra is before.extra
        assert after.query is before.query


def test_residuals_of_patches_add_up_with_their_weights(seam: Seam) -> None:
    seam.patches = {
        "a": listening(Constant(1.0, 4), weight=0.5),
        "b": listening(Constant(4.0, 4), "other", -1.0, name="b"),
    }
    before = visual(Layout(2, 1, 2))
    tokens = tiny_patch.tokens(2)
    (both,) = seam.fuse([before], [{"audio": tokens, "other": tokens}])
    assert torch.allclose(both.tokens, before.tokens - 3.5)
    (one,) = seam.fuse([before], [{"audio": tokens}])
    assert torch.equal(one.tokens, before.tokens + 0.5)


def test_weight_zero_does_not_even_call_the_fusion(seam: Seam) -> None:
    fusion = Constant(float("nan"), 4)
    seam.patches = {"a": listening(fusion, weight=0.0)}
    before = visual(Layout(1, 1, 1))
    assert seam.fuse([before], [{"audio": tiny_patch.tokens(2)}])[0] is before
    assert fusion.asked == []


def test_a_patch_finds_its_tokens_by_its_own_name_first(seam: Seam) -> None:
    fusion = Constant(1.0, 4).eval()
    seam.patches = {"mine": listening(fusion, name="mine")}
    before = visual(Layout(1, 1, 1))
    assert not torch.equal(
        seam.fuse([before], [{"mine": tiny_patch.tokens(2)}])[0].tokens, before.tokens
    )
    none = {"mine": tiny_patch.tokens(0), "audio": tiny_patch.tokens(2)}
    assert seam.fuse([before], [none])[0] is before


def test_times_go_to_the_fusion_together_or_not_at_all(seam: Seam) -> None:
    fusion = Constant(1.0, 4).eval()
    seam.patches = {"a": listening(fusion)}
    clips, side = (
        [visual(Layout(2, 1, 1)), visual(Layout(1, 1, 1))],
        [{}, {"audio": tiny_patch.tokens(2)}],
    )
    seam.fuse(clips, side)
    seam.fuse(clips, side, [torch.tensor([0.0, 1.0]), torch.tensor([7.0])])
    assert fusion.asked[0] == (1, ())
    count, (query_times, side_times) = fusion.asked[1]
    assert count == 1
    assert query_times[0].tolist() == [7.0]
    assert torch.equal(side_times[0], side[1]["audio"].times)


@pytest.mark.parametrize(
    ("side", "times", "message"),
    [
        ([{}], None, "side channel entries: got 1 for 2 encoded clips"),
        ([{}, {}], [torch.zeros(1)], "times: got 1 for 2 encoded clips"),
    ],
)
def test_counts_must_agree(seam: Seam, side: Any, times: Any, message: str) -> None:
    with pytest.raises(ChannelError, match=message):
        seam.fuse([visual(Layout(1, 1, 1))] * 2, side, times)


def test_missing_query_and_wrong_residual_are_explained(seam: Seam) -> None:
    seam.patches = {"a": listening(Constant(1.0, 5))}
    side = [{"audio": tiny_patch.tokens(2)}]
    with pytest.raises(ChannelError, match=r"a fusion returned \(1, 1, 5\) instead of \(1, 1, 4\)"):
        seam.fuse([visual(Layout(1, 1, 1))], side)
    with pytest.raises(ChannelError, match="want_query=True"):
        seam.fuse([Visual(torch.zeros(1, 4), Layout(1, 1, 1))], side)


def test_an_unused_fusion_in_training_gets_a_zero_gradient_and_changes_nothing(seam: Seam) -> None:
    fusion = Constant(3.0, 4).train()
    seam.patches = {"a": listening(fusion)}
    before = visual(Layout(1, 1, 1))
    (after,) = seam.fuse([before], [{}])
    assert torch.equal(after.tokens, before.tokens)
    after.tokens.sum().backward()  # type: ignore[no-untyped-call]
    assert fusion.value.grad is not None
    assert float(fusion.value.grad) == 0


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_vl", "internvl"])
def test_without_a_side_channel_the_original_gets_the_very_same_arguments(family: str) -> None:
    base = tiny.base(family)
    seam = Seam(base, {})
    seen: list[Any] = []
    method = getattr(type(seam.owner), seam.base.family.method)
    assert inspect.signature(getattr(seam.owner, seam.base.family.method)) == inspect.signature(
        method.__get__(seam.owner)
    )

    class Recorder(Seam):
        """A seam whose original only notes its arguments."""

        @property
        def original(self) -> Any:
            """Notes what it is called with."""
            return lambda *args, **kwargs: seen.append((args, kwargs))

    seam.detach()
    recorder = Recorder(base, {})
    recorder(1, two=2, return_dict=False)
    recorder.detach()
    assert seen == [((1,), {"two": 2, "return_dict": False})]


def test_the_tuple_form_is_kept() -> None:
    base = tiny.base()
    Seam(base, {"a": listening(Constant(1.0, tiny.HIDDEN))})
    pixels = tiny.inputs(base)["pixel_values_videos"]
    plain = base.model.model.get_video_features(pixels, return_dict=True).pooler_output
    with calling(Call(side=[{"audio": tiny_patch.tokens(2)}] * 2)):
        parts = base.model.model.get_video_features(pixels, return_dict=False)
    assert isinstance(parts, tuple)
    assert any(
        isinstance(p, Tensor)
        and p.shape == plain.shape
        and torch.equal(p[:, :-1], plain[:, :-1] + 1)
        for p in parts
    )


def test_one_seam_a_model_and_it_goes_without_a_trace() -> None:
    base = tiny.base()
    seam = Seam(base, {})
    with pytest.raises(BaseError, match="already patched"):
        Seam(base, {})
    seam.detach()
    assert base.family.method not in base.model.model.__dict__
    again = Seam(base, {})
    seam.detach()  # an old seam does not take a newer one off
    assert base.model.model.__dict__[base.family.method] is again


def test_deepcopy_binds_the_copy_to_the_copied_model() -> None:
    base = tiny.base()
    seam = Seam(base, {})
    copied = copy.deepcopy(base.model)
    twin = copied.model.__dict__[base.family.method]
    assert twin is not seam
    assert twin.owner is copied.model
    assert twin.original.__self__ is copied.model


def test_tokens_of_another_width_are_refused_by_name() -> None:
    case = tiny_patch.case()
    tiny_patch.add(case.model)
    with pytest.raises(
        ChannelError, match="patch 'audio' expects 6 features per audio token, got 7"
    ):
        case.run([{"audio": tiny_patch.tokens(dim=7)}, {}])
    assert isinstance(tiny_patch.tokens(), Tokens)
