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
from pave.bases import find_family, load_base, prefix_positions
from pave.data import pack
from pave.data.packing import positions

FAMILY, LATER = OMNI = ("qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
# As the tensors of Qwen/Qwen2.5-Omni-7B and Qwen/Qwen3-Omni-30B-A3B-Instruct are called.
NAMES = {r"^model\.language_model\.": "model.", r"^model\.(visual|audio_tower)\.": r"\1."}
WHOLE = {
    FAMILY: ("qwen2_5_omni", "Qwen2_5OmniForConditionalGeneration"),
    LATER: ("qwen3_omni_moe", "Qwen3OmniMoeForConditionalGeneration"),
}


def published(folder: Path, thinker: str = FAMILY) -> Any:
    """A checkpoint of thinker and talker; the base that its thinker is."""
    base = tiny.base(thinker)
    model_type, architecture = WHOLE[thinker]
    tensors = {"talker.codec_head.weight": torch.zeros(2, 2)}
    for name, tensor in apart(base.model.state_dict()).items():
        for ours, theirs in NAMES.items():
            name = re.sub(ours, theirs, name)
        tensors[f"thinker.{name}"] = tensor.contiguous()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": model_type,
        "architectures": [architecture],
        "thinker_config": base.config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    base.tokenizer.save_pretrained(folder)
    return base


def apart(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Experts one by one, as checkpoints hold them; transformers fuses them when it loads."""
    found = {}
    for name, tensor in tensors.items():
        if ".experts." not in name:
            found[name] = tensor
            continue
        layer, _, part = name.rpartition(".")
        for number, one in enumerate(tensor):
            parts = {part: one}
            if part == "gate_up_proj":
                gate, up = one.chunk(2)
                parts = {"gate_proj": gate, "up_proj": up}
            for own, matrix in parts.items():
                found[f"{layer}.{number}.{own}.weight"] = matrix
    return found


@pytest.mark.parametrize("tower", [True, False])
@pytest.mark.parametrize("thinker", OMNI)
def test_the_thinker_of_a_whole_checkpoint(thinker: str, tower: bool, tmp_path: Path) -> None:
    plain = published(tmp_path, thinker)
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


def rule_of(base: Any, clip: Any, question: str) -> torch.Tensor:
    """Where Qwen3-Omni's own rule puts a prompt, `[3, L]`."""
    inputs = base.batch([base.encode_prompt(clip.text, [(question, None)]).ask()], [clip])
    positions, _ = base.inner.get_rope_index(
        inputs["input_ids"],
        video_grid_thw=inputs["video_grid_thw"],
        attention_mask=inputs["attention_mask"],
        second_per_grids=inputs["video_second_per_grid"],
    )
    return positions[:, 0]


def test_positions_of_the_later_one_are_fractions() -> None:
    """13 a second: steps of two frames at 3 frames a second stand 26/3 apart."""
    base = tiny.base(LATER)
    clip = base.clip(tiny.frames(6, fps=3))
    placed = rule_of(base, clip, "What?")
    prompt = base.encode_prompt(clip.text, [("What?", None)])
    seen = torch.tensor([token == base.placeholder_id for token in prompt.ask()])
    times = placed[0, seen].unflatten(0, (3, -1))[:, 0]
    torch.testing.assert_close(times - times[0], torch.tensor([0, 26 / 3, 52 / 3]))
    # The mark behind the clip comes one after its last position, the question after that.
    (found,) = prefix_positions(base, [prompt.prefix], [clip])
    assert found.dtype == torch.float32 and found[0, -1] % 1 != 0


def test_questions_behind_one_prefix_stand_at_fractions_too() -> None:
    base = tiny.base(LATER)
    clip = base.clip(tiny.frames(10, fps=3))
    prompts = [base.encode_prompt(clip.text, [(ask, "So.")]) for ask in ("Why?", "And what now?")]
    packed = pack(prompts)
    places = prefix_positions(base, [prompts[0].prefix], [clip], max(packed.blocks))
    placed = positions([packed], places)[:, 0]  # [3, L]
    start = packed.prefix
    alone = rule_of(base, clip, "?" * 40)[:, start:]  # any question that is long enough
    for size in packed.blocks:
        assert torch.equal(placed[:, start : start + size], alone[:, :size])
        start += size


def test_a_saved_video_processor_has_no_say_on_pixels(tmp_path: Path) -> None:
    """Both processors hand their own limits to it at every call."""
    for thinker, side in ((FAMILY, 28), (LATER, 32)):
        tiny.base(thinker).tokenizer.save_pretrained(tmp_path)
        found = {"size": {"shortest_edge": 4 * side**2, "longest_edge": 9 * side**2}}
        (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(found))
        tiny.base(thinker).model.save_pretrained(tmp_path)
        settings = load_base(tmp_path, weights=False).settings
        assert (settings.min_pixels, settings.max_pixels) == (128 * side**2, 768 * side**2)
