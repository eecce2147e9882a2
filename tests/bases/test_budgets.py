"""How many pixels a clip may have, and how many tokens a prompt: as the references have it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers import tiny
from pave.bases import BaseSettings, find_family
from pave.bases.families import grids, qwen3_vl
from pave.bases.settings import BUDGET, read_settings
from pave.errors import ConfigError

DATA = Path(__file__).parents[1] / "data" / "preprocess" / "sizes.json"
SIZES = json.loads(DATA.read_text())["rows"]
HUB = Path(os.environ.get("PAVE_HUB") or Path(__file__).resolve().parents[3] / "shared" / "hub")
PHOTO = {"min_pixels": 3136, "max_pixels": 12845056}  # as Qwen2-VL's preprocessor_config.json
FILM = {"size": {"shortest_edge": 4096, "longest_edge": 25165824}}  # as Qwen3-VL's video file


class ResizedError(Exception):
    """Tells the size that a family chose, before pixels are made."""


@pytest.fixture
def no_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames on the meta device are enough: what follows the choice of a size is left out."""

    def told(frames: Any, size: tuple[int, int], *_: Any) -> None:
        raise ResizedError(size)

    monkeypatch.setattr(grids, "tower_inputs", told)
    monkeypatch.setattr(qwen3_vl, "tower_inputs", told)


def _family(name: str) -> Any:
    side = 16 if name == "qwen3_vl" else 14
    tower = SimpleNamespace(patch_size=side, spatial_merge_size=2, temporal_patch_size=2)
    return find_family(name)(SimpleNamespace(vision_config=tower))


def _size(family: Any, settings: BaseSettings, clip: list[int]) -> list[int]:
    count, height, width = clip
    frames = torch.empty(count, 3, height, width, dtype=torch.uint8, device="meta")
    with pytest.raises(ResizedError) as told:
        family.prepare(settings, frames, torch.arange(count, dtype=torch.float64))
    return list(told.value.args[0])


def _write(folder: Path, **files: dict[str, Any]) -> str:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return str(folder)


@pytest.mark.usefixtures("no_pixels")
@pytest.mark.parametrize("row", SIZES, ids=lambda row: f"{row['family']}-{row['clip']}")
def test_sizes_are_those_of_hugging_face(row: dict[str, Any], tmp_path: Path) -> None:
    """For every limit and cap that a video processor's file can ask for."""
    family = _family(row["family"])
    source = _write(tmp_path, video_preprocessor_config=row["file"])
    settings = read_settings(source, family.settings())
    assert _size(family, settings, row["clip"]) == row["size"]


@pytest.mark.usefixtures("no_pixels")
@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("files", [{}, {"preprocessor_config": PHOTO}], ids=["none", "image"])
def test_qwen_gets_the_caps_of_qwen_vl_utils(
    name: str, files: dict[str, Any], tmp_path: Path
) -> None:
    """768 tokens a step at most, 128 at least, 115,200 a clip; the image limits are not read."""
    family = _family(name)
    settings = read_settings(_write(tmp_path, **files), family.settings())
    capped = [row for row in SIZES if row["file"] == {"cap_pixels_per_frame": True}]
    assert len(capped) == 9
    for row in capped:
        assert _size(family, settings, row["clip"]) == row["size"]
    for shape in ([32, 1080, 1920], [32, 2160, 3840]):
        height, width = _size(family, settings, shape)
        assert 16 * (height // 28) * (width // 28) == 11_520


@pytest.mark.usefixtures("no_pixels")
@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_folders_of_the_hub(name: str) -> None:
    """The real files: 32 frames of 1080p are 11,520 tokens in each of the three."""
    if not (HUB / name).is_dir():
        pytest.skip("no folder of the Hub's files; see PAVE_HUB")
    family = _family(name)
    settings = read_settings(str(HUB / name), family.settings())
    height, width = _size(family, settings, [32, 1080, 1920])
    side = 32 if name == "qwen3_vl" else 28
    assert 16 * (height // side) * (width // side) == 11_520


BLOCKS: dict[str, dict[str, Any]] = {
    "processor_config": {"video_processor": {"size": {"shortest_edge": 11, "longest_edge": 12}}},
    "video_preprocessor_config": {"size": {"shortest_edge": 21, "longest_edge": 22}},
    "preprocessor_config": {"size": {"shortest_edge": 31, "longest_edge": 32}},
}


@pytest.mark.parametrize("first", range(3))
def test_files_have_the_priority_of_transformers(first: int, tmp_path: Path) -> None:
    from transformers.video_processing_utils import BaseVideoProcessor

    source = _write(tmp_path, **dict(list(BLOCKS.items())[first:]))
    theirs, _ = BaseVideoProcessor.get_video_processor_dict(source)
    defaults = BaseSettings(min_pixels=1, max_pixels=2)
    ours = read_settings(source, defaults)
    if first == 2:  # of images alone
        assert theirs["size"] == BLOCKS["preprocessor_config"]["size"]
        assert ours == defaults
        return
    edges = {"shortest_edge": ours.min_pixels, "longest_edge": ours.max_pixels}
    assert edges == theirs["size"]


def test_settings_without_a_cap_are_written_as_before() -> None:
    """Keys of tokens hold them: those of other bases stay."""
    assert not {"cap_pixels_per_frame", "max_video_tokens"} & BaseSettings().model_dump().keys()
    settings = BaseSettings(cap_pixels_per_frame=True, max_video_tokens=7)
    assert BaseSettings.model_validate(settings.model_dump()) == settings
    assert set(BUDGET) <= settings.model_dump().keys()


def test_an_image_file_still_says_mean_and_deviation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = _write(tmp_path, preprocessor_config={**PHOTO, "image_mean": [0.1, 0.2, 0.3]})
    with caplog.at_level("INFO"):
        settings = read_settings(source, _family("qwen2_vl").settings())
    assert settings.mean == (0.1, 0.2, 0.3)
    assert "'max_pixels': 12845056" in caplog.text
    assert "are for images; videos get {'min_pixels': 100352, 'max_pixels': 602112" in caplog.text


@pytest.mark.parametrize(
    ("name", "most", "told"),
    [("qwen2_5_vl", 12845056, True), ("qwen2_5_vl", 602112, False), ("qwen3_vl", 12845056, False)],
)
def test_limits_of_photos_in_a_file_of_videos_are_told_of(
    name: str, most: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As transformers saves Qwen2-VL's processor; followed, as transformers does."""
    found = {"size": {"shortest_edge": 3136, "longest_edge": most}}
    source = _write(tmp_path, video_preprocessor_config=found)
    assert read_settings(source, _family(name).settings()).max_pixels == most
    assert ("the limit of photos, 12,845,056 pixels" in caplog.text) == told


def test_a_prompt_that_is_too_long_is_refused() -> None:
    base = tiny.base()
    longest = base.config.get_text_config().max_position_embeddings
    rest = len(base.encode_prompt("", [("", None)]).ask())
    base.encode_prompt("", [("x" * (longest - rest), None)])  # one token a letter
    with pytest.raises(ConfigError, match="4,097 tokens, 0 of them visual.*the 4,096.*shorter"):
        base.encode_prompt("", [("x" * (longest - rest + 1), None)])


def test_frames_that_never_fit_are_refused_before_there_are_any() -> None:
    """LLaVA-NeXT-Video 7B: 144 tokens a frame, 4,096 positions."""
    base = tiny.base("llava_next_video")  # of 2 x 2 tokens a frame
    base.family.config.vision_config.image_size = 336  # 24 x 24 patches, 12 x 12 tokens
    base.settings = base.settings.model_copy(update={"shortest_edge": 336, "crop": (336, 336)})
    base.check_frames(28)
    with pytest.raises(
        ConfigError, match="4,608 tokens, .* the 4,096 .* 32 frames are too many, use 28 or fewer"
    ):
        base.check_frames(32)


@pytest.mark.parametrize("family", [name for name in tiny.FAMILIES if "qwen" not in name])
def test_the_number_of_tokens_is_told_without_the_clip(family: str) -> None:
    """Equal to what a clip of so many frames has; nothing is said where the size decides."""
    base = tiny.base(family)
    places = base.clip(tiny.frames(7)).text.count(base.family.placeholder)
    base.context = places
    base.check_frames(7)
    base.context = places - 1
    if base.settings.max_pixels is not None or base.settings.max_video_tokens is not None:
        base.check_frames(7)
        return
    with pytest.raises(ConfigError, match=f"{places} tokens"):
        base.check_frames(7)
