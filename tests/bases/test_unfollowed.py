"""What a video processor's file asks for is done, or refused in a line, or said not to count.

Which of the three is right was found by running transformers' own processors on such files.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pave.bases import find_family
from pave.bases.family import Family
from pave.bases.settings import read_settings
from pave.errors import BaseError

FRAMES = torch.full((2, 3, 120, 160), 255, dtype=torch.uint8)
TOWER = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
# Family -> the config that it reads.
CONFIGS: dict[str, dict[str, Any]] = {
    "gemma4": {"model_type": "gemma4", "vision_config": {**TOWER, "pooling_kernel_size": 3}},
    "glm4v": {"model_type": "glm4v", "vision_config": TOWER},
    "llava_next_video": {
        "vision_config": {"image_size": 336, "patch_size": 14},
        "spatial_pool_stride": 2,
    },
    "llava_onevision": {"vision_config": {"image_size": 384, "patch_size": 14}},
    "minicpmv4_6": {
        "model_type": "minicpmv4_6",
        "downsample_mode": "16x",
        "vision_config": {"patch_size": 14},
    },
    "qwen2_vl": {"vision_config": TOWER},
    "qwen3_vl": {"vision_config": {**TOWER, "patch_size": 16}},
    "smolvlm": {"vision_config": {"image_size": 364, "patch_size": 14}, "scale_factor": 2},
}


def family_of(name: str) -> Family:
    def spaced(value: Any) -> Any:
        if isinstance(value, dict):
            return SimpleNamespace(**{key: spaced(inner) for key, inner in value.items()})
        return value

    made: Family = find_family(name)(spaced(CONFIGS[name]))
    return made


def settings_of(family: Family, folder: Path, **found: Any) -> Any:
    """Settings of a folder whose video processor's file says this."""
    (folder / "video_preprocessor_config.json").write_text(json.dumps(found))
    return read_settings(
        str(folder),
        family.settings(),
        fixed_budget=family.fixed_budget,
        old_limits=family.old_limits,
        resample=family.resample,
    )


def pixels_of(name: str, folder: Path, **found: Any) -> Tensor:
    family = family_of(name)
    settings = settings_of(family, folder, **found)
    clip = family.prepare(settings, FRAMES, torch.arange(2, dtype=torch.float64))
    return clip.pixels[family.pixels]


@pytest.mark.parametrize(
    ("name", "found", "said"),
    [
        ("llava_onevision", {"do_resize": False}, "do_resize: false"),
        ("qwen2_vl", {"do_rescale": False}, "do_rescale: false"),
        ("gemma4", {"rescale_factor": 0.5}, "rescale_factor: 0.5"),
        ("llava_onevision", {"resample": 2}, r"resample: 2 \(bilinear\)"),
        ("smolvlm", {"resample": 3}, r"resample: 3 \(bicubic\)"),
        ("llava_next_video", {"do_center_crop": False}, "do_center_crop: false"),
        ("llava_onevision", {"do_center_crop": True, "crop_size": 9}, "do_center_crop: true"),
        ("llava_onevision", {"size": {"shortest_edge": 384}}, "size: .*shortest_edge"),
        ("llava_next_video", {"size": {"longest_edge": 384}}, "size: .*longest_edge"),
        ("qwen2_vl", {"size": {"height": 224, "width": 224}}, "size: .*height"),
        ("qwen3_vl", {"size": 224}, "size: 224"),
        ("glm4v", {"size": {"shortest_edge": 224}}, "size: .*shortest_edge"),
        ("smolvlm", {"size": {"height": 224, "width": 224}}, "size: .*height"),
    ],
)
def test_what_pave_does_not_do_is_refused(
    name: str, found: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(
        BaseError, match=rf"asks for {said}.*, which pave does not support; correct"
    ):
        settings_of(family_of(name), tmp_path, **found)


def test_a_file_of_pictures_is_told_of_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = {"resample": 2, "size": {"height": 384, "width": 384}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(found))
    family = family_of("llava_onevision")
    read_settings(str(tmp_path), family.settings(), resample=family.resample)
    assert "asks for resample: 2 (bilinear), which pave does not support; frames are" in caplog.text


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("smolvlm", {"resample": 1, "do_center_crop": True}),
        ("gemma4", {"size": {"height": 224, "width": 224}}),
        ("minicpmv4_6", {"size": 224, "scale_resolution": 448}),
        ("llava_onevision", {"do_center_crop": True, "size": 384, "crop_size": 384}),
        ("qwen2_vl", {"size": {"shortest_edge": 3136}, "max_pixels": 50176}),
        ("qwen2_vl", {"do_center_crop": True, "rescale_factor": 0.00392156862745098}),
    ],
)
def test_what_changes_nothing_is_taken(name: str, found: dict[str, Any], tmp_path: Path) -> None:
    settings_of(family_of(name), tmp_path, **found)


def test_one_number_is_that_of_all_colours(tmp_path: Path) -> None:
    pixels = pixels_of("llava_onevision", tmp_path, image_mean=0.5, image_std=0.25)
    assert torch.equal(pixels, torch.full_like(pixels, 2.0))  # (1 - 0.5) / 0.25


def test_pixels_that_are_not_normalised_reach_from_0_to_1(tmp_path: Path) -> None:
    pixels = pixels_of("qwen2_vl", tmp_path, do_normalize=False, image_mean=[0.5, 0.5, 0.5])
    assert torch.equal(pixels, torch.ones_like(pixels))


def test_both_sides_of_a_frame_and_a_rim_around_it(tmp_path: Path) -> None:
    """Squeezed to 224 x 280, on a black square of 336: 56 lines above, 28 columns to the left."""
    found = {"size": {"height": 224, "width": 280}, "crop_size": 336}
    pixels = pixels_of("llava_next_video", tmp_path, do_normalize=False, **found)
    white = torch.zeros(336, 336)
    white[56:280, 28:308] = 1
    assert torch.equal(pixels, white.expand_as(pixels))


def test_a_side_alone_is_the_shorter_one(tmp_path: Path) -> None:
    """120 x 160 with 336 as the shorter edge is 336 x 448, of which the middle is cut out."""
    pixels = pixels_of("llava_next_video", tmp_path, size=336, do_normalize=False)
    assert torch.equal(pixels, torch.ones(1, 2, 3, 336, 336))


def test_the_only_limit_of_minicpm(tmp_path: Path) -> None:
    settings = settings_of(family_of("minicpmv4_6"), tmp_path, scale_resolution=224)
    assert settings.max_pixels == 224 * 224


def test_smolvlm_has_a_bound_of_its_own(tmp_path: Path) -> None:
    """4096, as in transformers; without it a file that names more takes all memory."""
    from pave.bases.families.smolvlm import within

    assert within(FRAMES, 65536) == (3072, 4096)


@pytest.mark.parametrize("name", ["qwen3_vl", "glm4v", "minicpmv4_6"])
def test_limits_that_are_not_read_are_told(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    family = family_of(name)
    old = settings_of(family, tmp_path, min_pixels=3136, max_pixels=12544)
    assert old.model_copy(update={"cap_pixels_per_frame": False}) == family.settings().model_copy(
        update={"cap_pixels_per_frame": False}
    )
    assert (
        "max_pixels, min_pixels: the model's own processor reads the limits from `size`"
        in caplog.text
    )
    caplog.clear()
    settings_of(family_of("qwen2_vl"), tmp_path, min_pixels=3136, max_pixels=12544)
    assert not caplog.records
