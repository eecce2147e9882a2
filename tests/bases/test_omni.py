"""Omni models: the thinker of a whole checkpoint, and where its processor puts a video."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from helpers import tiny
from pave.bases import find_family, load_base
from pave.errors import BaseError

FAMILY = "qwen2_5_omni_thinker"
# As the tensors of Qwen/Qwen2.5-Omni-7B are called.
NAMES = {r"^model\.language_model\.": "model.", r"^model\.(visual|audio_tower)\.": r"\1."}


def published(folder: Path) -> Any:
    """A checkpoint of thinker and talker; the base that its thinker is."""
    base = tiny.base(FAMILY)
    tensors = {"talker.codec_head.weight": torch.zeros(2, 2)}
    for name, tensor in base.model.state_dict().items():
        for ours, theirs in NAMES.items():
            name = re.sub(ours, theirs, name)
        tensors[f"thinker.{name}"] = tensor.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "qwen2_5_omni",
        "architectures": ["Qwen2_5OmniForConditionalGeneration"],
        "thinker_config": base.config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    base.tokenizer.save_pretrained(folder)
    return base


@pytest.mark.parametrize("tower", [True, False])
def test_the_thinker_of_a_whole_checkpoint(tower: bool, tmp_path: Path) -> None:
    plain = published(tmp_path)
    loaded = load_base(tmp_path, settings=plain.settings, tower=tower)
    assert type(loaded.model) is type(plain.model) and loaded.tower_loaded == tower
    inputs = tiny.inputs(plain, (4, 2))
    if not tower:
        loaded.load_tower()
    own, other = loaded.model.state_dict(), plain.model.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[key], other[key]) for key in own)
    with torch.no_grad():
        assert torch.equal(loaded.model(**inputs).logits, plain.model(**inputs).logits)


def test_frames_are_those_of_qwen2_5_vl() -> None:
    """Which are compared with its processor's; the Omni one's limits are these defaults."""
    base = tiny.base(FAMILY)
    frames = tiny.frames(4, 120, 160)
    settings = base.family.settings()
    assert (settings.min_pixels, settings.max_pixels) == (128 * 28 * 28, 768 * 28 * 28)
    ours = base.family.prepare(settings, frames.pixels, frames.times)
    other = find_family("qwen2_5_vl")(base.config)
    theirs = other.prepare(settings, frames.pixels, frames.times)
    assert torch.equal(ours.pixels["pixel_values_videos"], theirs.pixels["pixel_values_videos"])
    wanted = theirs.text.replace("video_pad", "VIDEO").replace("vision_start", "vision_bos")
    assert ours.text == wanted.replace("vision_end", "vision_eos")


def test_positions_run_by_the_second() -> None:
    """25 a second: steps of two frames, half a second apart, stand 25 apart."""
    base = tiny.base(FAMILY)
    clip = base.clip(tiny.frames(6))
    assert clip.pixels["video_second_per_grid"].tolist() == [1.0]
    inputs = base.batch([base.encode_prompt(clip.text, [("What?", None)]).ask()], [clip])
    positions, _ = base.inner.get_rope_index(
        inputs["input_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        second_per_grids=inputs["video_second_per_grid"],
    )
    seen = (inputs["input_ids"][0] == base.placeholder_id).nonzero().flatten()
    times = positions[0, 0, seen].unflatten(0, (3, -1))
    assert (times - times[0, 0]).tolist() == [[0] * 4, [25] * 4, [50] * 4]


def test_the_other_omni_is_refused_in_words() -> None:
    with pytest.raises(BaseError, match="qwen3_omni_moe_thinker.* positions are fractions"):
        find_family("qwen3_omni_moe_thinker")
