"""PerceptionLM: generate() does not encode its videos beforehand, so a patched model does.

The tower is CLIP's in place of timm's; see `pave.testing.tiny`.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from helpers import tiny_patch
from pave.bases import find_family
from pave.errors import BaseError


@pytest.mark.parametrize("beams", [1, 3])
def test_a_patched_model_encodes_each_clip_once_whatever_the_beams(beams: int) -> None:
    case = tiny_patch.case("perception_lm")
    options = {"max_new_tokens": 4, "do_sample": False, "num_beams": beams}
    plain = case.base.model.generate(**case.inputs, **options)
    tiny_patch.add(case.model)
    seen = []
    case.base.inner.vision_tower.register_forward_pre_hook(
        lambda _, args: seen.append(len(args[0]))
    )
    live = case.model.generate(case.side, case.times, **case.inputs, **options)
    assert seen == [8]  # two clips of four frames
    cached = case.model.generate(case.side, case.times, case.visuals(), **case.light(), **options)
    assert torch.equal(live, cached)
    with case.model.disable_patches():
        again = case.model.generate(case.side, case.times, **case.inputs, **options)
    assert torch.equal(again, plain) and not torch.equal(live, plain)


@pytest.mark.parametrize(
    ("architecture", "side"), [("vit_pe_core_large_patch14_336", 14), ("vit_x_patch8_224", 8)]
)
def test_the_side_of_a_patch_is_in_the_name_of_the_tower(architecture: str, side: int) -> None:
    config = SimpleNamespace(vision_config=SimpleNamespace(architecture=architecture))
    assert find_family("perception_lm")(config).patch == side


def test_a_tower_that_hides_its_patches_is_refused() -> None:
    config = SimpleNamespace(vision_config=SimpleNamespace(architecture="resnet50"))
    with pytest.raises(BaseError, match="resnet50 does not say how large its patches"):
        find_family("perception_lm")(config).patch  # noqa: B018
