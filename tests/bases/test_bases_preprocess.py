"""Torch-only preprocessing: equal to Hugging Face's video processors, right for any size."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import tiny
from pave.bases import BaseSettings, find_family
from pave.bases.families.qwen3_vl import fit
from pave.bases.families.smolvlm import words
from pave.bases.preprocess import (
    merge_times,
    normalize,
    resize,
    smart_resize,
)
from pave.bases.settings import from_processor, read_settings
from pave.errors import BaseError, ConfigError

GOLDENS = json.loads(
    (Path(__file__).parents[1] / "data" / "preprocess" / "goldens.json").read_text()
)["rows"]


def namespace(value: Any) -> Any:
    """Nested dicts as the attribute access that configs offer; timm's arguments stay a dict."""
    return (
        SimpleNamespace(**{k: v if k == "model_args" else namespace(v) for k, v in value.items()})
        if isinstance(value, dict)
        else value
    )


def golden_frames(row: dict[str, Any]) -> torch.Tensor:
    """The clip a golden was made of."""
    count, height, width = row["frames"]
    generator = torch.Generator().manual_seed(count * height + width)
    frames = torch.randint(
        0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8
    )
    for i in range(1, count, 2) if row["family"] == "video_llama_3" else ():
        frames[i, :, height // 2 :] = frames[i - 1, :, height // 2 :]
        frames[i, :, :, width // 2 :] = frames[i - 1, :, :, width // 2 :]
    assert hashlib.sha256(frames.numpy().tobytes()).hexdigest()[:16] == row["frames_sha256"]
    return frames


def name_of(row: dict[str, Any]) -> str:
    """Readable test id."""
    return f"{row['family']}-{'x'.join(str(n) for n in row['frames'])}"


@pytest.mark.parametrize("row", GOLDENS, ids=name_of)
def test_pixels_and_text_equal_hugging_face(row: dict[str, Any]) -> None:
    """Shapes, sampled values, sums and the expanded placeholder text."""
    family = find_family(row["family"])(namespace(row["config"]))
    options = BaseSettings(**{**family.settings().model_dump(), **row["settings"]})
    times = torch.tensor(row["times"], dtype=torch.float64)
    clip = family.prepare(options, golden_frames(row), times)
    for key, shape in row["shapes"].items():
        ours = clip.pixels["pixel_values" if row["family"] == "internvl" else key]
        ours = ours[None] if row["family"] == "internvl" else ours
        assert list(ours.shape) == shape
        flat = ours.flatten().to(torch.float64)
        picks = torch.linspace(0, len(flat) - 1, len(row["samples"][key])).long()
        assert (
            flat[picks] - torch.tensor(row["samples"][key], dtype=torch.float64)
        ).abs().max() < 1e-6
        assert float(flat.abs().sum()) == pytest.approx(row["sums"][key], rel=1e-7)
    token = re.escape(family.placeholder)
    text = re.sub(
        f"(?:{token})+",
        lambda m: f"{family.placeholder}*{len(m[0]) // len(family.placeholder)}",
        clip.text,
    )
    if row["family"] in (
        "qwen2_vl",
        "qwen2_5_vl",
    ):  # here Hugging Face keeps the span's ends in the chat template
        text = text.removeprefix("<|vision_start|>").removesuffix("<|vision_end|>")
    if family.name == "glm4v":
        text = text.removeprefix("<|begin_of_video|>").removesuffix("<|end_of_video|>")
    assert text == row["text"]


@settings(deadline=None)
@given(st.integers(20, 3000), st.integers(20, 3000), st.sampled_from([28, 32]))
def test_smart_resize_keeps_its_promises(height: int, width: int, factor: int) -> None:
    """Divisible sides within the limits."""
    low, high = 4 * factor**2, 700 * factor**2
    h, w = smart_resize(height, width, factor, low, high)
    assert h % factor == w % factor == 0
    assert min(h, w) == factor or low <= h * w <= high


@settings(deadline=None)
@given(st.integers(2, 40), st.integers(20, 2000), st.integers(20, 2000))
def test_clip_budget_holds(frames: int, height: int, width: int) -> None:
    """Qwen3-VL's limits hold for the whole clip."""
    h, w = fit((frames, height, width), 32, 2, (128 * 1024, 768 * 1024))
    assert h % 32 == w % 32 == 0
    assert min(h, w) == 32 or frames // 2 * 2 * h * w <= 768 * 1024 * 1.1


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=9), st.integers(1, 3))
def test_merged_times(times: list[float], step: int) -> None:
    """As many as token steps, inside the clip, in order."""
    merged = merge_times(torch.tensor(sorted(times), dtype=torch.float64), step)
    assert len(merged) == -(-len(times) // step)
    assert (
        bool((merged.diff() >= 0).all())
        and min(times) <= float(merged[0])
        and float(merged[-1]) <= max(times)
    )


def test_narrow_frames_are_refused() -> None:
    """One side over 200 times the other."""
    with pytest.raises(BaseError, match="too narrow"):
        smart_resize(10, 3000, 28, 784, 7840)


def test_normalize_and_resize_are_exact_at_the_ends() -> None:
    """Black and white map to the ends; a frame of the right size is returned as it is."""
    frames = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 1, 2).expand(1, 3, 1, 2)
    assert normalize(frames, BaseSettings()).unique().tolist() == [-1.0, 1.0]
    assert resize(frames, (1, 2)) is frames


def test_missing_size_is_a_config_error() -> None:
    """A family that needs a frame size says so."""
    with pytest.raises(ConfigError, match="frame size"):
        resize(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), BaseSettings().size)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (7, "seven"),
        (20, "twenty"),
        (32, "thirty-two"),
        (100, "one hundred"),
        (164, "one hundred and sixty-four"),
        (1500, "1500"),
    ],
)
def test_numbers_in_words(number: int, text: str) -> None:
    """As SmolVLM's prompt writes them."""
    assert words(number) == text


def test_settings_are_read_from_a_folder(tmp_path: Path) -> None:
    """The video file wins over the image file; without files the defaults stay."""
    defaults = BaseSettings(size=(384, 384))
    assert read_settings(str(tmp_path), defaults) == defaults
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 10, "width": 12}, "image_mean": [0, 0, 0]})
    )
    assert read_settings(str(tmp_path), defaults).size == (10, 12)
    (tmp_path / "video_preprocessor_config.json").write_text(
        json.dumps({"size": {"height": 20, "width": 20}})
    )
    found = read_settings(str(tmp_path), defaults)
    assert found.size == (20, 20) and found.mean == defaults.mean
    (tmp_path / "video_preprocessor_config.json").write_text("{")
    with pytest.raises(BaseError, match="not valid JSON"):
        read_settings(str(tmp_path), defaults)


def test_each_kind_of_size_is_understood() -> None:
    """Pixel budgets, edges, crops and SmolVLM's two sizes."""
    budget = from_processor(
        {"min_pixels": 5, "max_pixels": 9}, BaseSettings(min_pixels=1, max_pixels=2)
    )
    assert budget == {"min_pixels": 5, "max_pixels": 9, "cap_pixels_per_frame": False}
    edges = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    assert from_processor(edges, BaseSettings(shortest_edge=1, crop=(1, 1))) == {
        "shortest_edge": 336,
        "crop": (336, 336),
    }
    smol = {
        "size": {"longest_edge": 2048},
        "max_image_size": {"longest_edge": 512},
        "video_sampling": {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 512}},
    }
    assert from_processor(smol, BaseSettings(longest_edge=1, size=(1, 1))) == {
        "longest_edge": 2048,
        "size": (512, 512),
    }
    del smol["size"]
    assert from_processor(smol, BaseSettings(longest_edge=1, size=(1, 1))) == {
        "longest_edge": 512,
        "size": (512, 512),
    }
    assert from_processor({"use_token_compression": False}, BaseSettings(compress=True)) == {
        "compress": False
    }


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(24, 32, (384, 384)), (101, 77, (30, 41)), (48, 30, (48, 12)), (5, 3, (7, 1))],
)
def test_pillow_s_filter_to_the_last_bit(height: int, width: int, size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    frames = tiny.frames(2, height, width).pixels
    frames[0] = (frames[0] > 127) * 255  # hard edges overshoot
    wanted = [
        image.fromarray(f.permute(1, 2, 0).numpy()).resize(size[::-1], image.BICUBIC)
        for f in frames
    ]
    assert torch.equal(
        resize(frames, size, "pillow"),
        torch.stack([torch.from_numpy(np.array(w)) for w in wanted]).permute(0, 3, 1, 2),
    )


@pytest.mark.parametrize(
    ("version", "own"),
    [("2.6.0", False), ("2.9.1+cpu", False), ("2.13.0+cpu", True), ("2.14.1", True)],
)
def test_lanczos_is_bicubic_where_torch_has_none(
    version: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = torch.randint(
        0, 256, (1, 3, 24, 36), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    lanczos, bicubic = resize(frames, (12, 18), "lanczos"), resize(frames, (12, 18))
    assert not torch.equal(lanczos, bicubic)
    monkeypatch.setattr(torch, "__version__", torch.torch_version.TorchVersion(version))
    assert torch.equal(resize(frames, (12, 18), "lanczos"), lanczos if own else bicubic)
