"""Writes goldens.json: what Hugging Face's video processors make of small random clips.

For developers only; it needs torchvision, which pave itself never does. On a machine with a CPU
build of torch, put torchvision's wheel into a folder of its own and run

    python -m pip install --no-deps --target TV torchvision num2words docopt
    PYTHONPATH=src:tests:TV python tests/data/preprocess/make.py

A wheel built for another torch cannot load its compiled operators; two of them are declared first
so that it imports, and none of them is needed here.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import transformers  # noqa: E402
from transformers.video_utils import VideoMetadata  # noqa: E402

CLIPS = ((3, 120, 160), (5, 97, 64), (2, 48, 200))
SAMPLES = 40

# family: (video processor, its arguments, processor that writes the text, our settings, the config
# fields that we read)
FAMILIES: dict[str, tuple[str, dict[str, Any], str, dict[str, Any], dict[str, Any]]] = {
    "llava_onevision": (
        "LlavaOnevisionVideoProcessor",
        {},
        "LlavaOnevisionProcessor",
        {"size": [384, 384]},
        {"vision_config": {"image_size": 384, "patch_size": 14}},
    ),
    "llava_next_video": (
        "LlavaNextVideoVideoProcessor",
        {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
        "LlavaNextVideoProcessor",
        {"shortest_edge": 336, "crop": [336, 336]},
        {"vision_config": {"image_size": 336, "patch_size": 14}, "spatial_pool_stride": 2},
    ),
    "qwen2_vl": (
        "Qwen2VLVideoProcessor",
        {"cap_pixels_per_frame": False},
        "Qwen2VLProcessor",
        {},
        {"vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}},
    ),
    "qwen2_5_vl": (
        "Qwen2VLVideoProcessor",
        {"cap_pixels_per_frame": False, "size": {"shortest_edge": 3136, "longest_edge": 12845}},
        "Qwen2_5_VLProcessor",
        {"min_pixels": 3136, "max_pixels": 12845},
        {"vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}},
    ),
    "qwen3_vl": (
        "Qwen3VLVideoProcessor",
        {"cap_pixels_per_frame": False},
        "Qwen3VLProcessor",
        {},
        {"vision_config": {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2}},
    ),
    "internvl": (
        "InternVLVideoProcessor",
        {
            "size": {"height": 448, "width": 448},
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
        },
        "InternVLProcessor",
        {},
        {"vision_config": {"image_size": [448, 448]}, "image_seq_length": 256},
    ),
    "smolvlm": (
        "SmolVLMVideoProcessor",
        {},
        "SmolVLMProcessor",
        {"longest_edge": 1456, "size": [364, 364]},
        {"vision_config": {"image_size": 364, "patch_size": 14}, "scale_factor": 2},
    ),
    "video_llama_3": (
        "VideoLlama3VideoProcessor",
        {},
        "VideoLlama3Processor",
        {},
        {"vision_config": {"patch_size": 14}},
    ),
    "qwen3_5": (
        "Qwen3VLVideoProcessor",
        {"cap_pixels_per_frame": False},
        "Qwen3VLProcessor",
        {},
        {"vision_config": {"patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2}},
    ),
    "glm4v": (
        "Glm4vVideoProcessor",
        {},
        "Glm4vProcessor",
        {},
        {
            "model_type": "glm4v",
            "vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        },
    ),
    "glm46v": (
        "Glm46VVideoProcessor",
        {"size": {"shortest_edge": 12544, "longest_edge": 37632}},
        "Glm46VProcessor",
        {"min_pixels": 12544, "max_pixels": 37632},
        {
            "model_type": "glm46v",
            "vision_config": {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        },
    ),
    "gemma4": (
        "Gemma4VideoProcessor",
        {},
        "Gemma4Processor",
        {},
        {"model_type": "gemma4", "vision_config": {"patch_size": 16, "pooling_kernel_size": 3}},
    ),
    "gemma4_unified": (
        "Gemma4UnifiedVideoProcessor",
        {"max_soft_tokens": 140},
        "Gemma4UnifiedProcessor",
        {"max_video_tokens": 140},
        {
            "model_type": "gemma4_unified",
            "vision_config": {"patch_size": 16, "pooling_kernel_size": 3},
        },
    ),
    "minicpmv4_6": (
        "MiniCPMV4_6VideoProcessor",
        {"max_slice_nums": 1},
        "MiniCPMV4_6Processor",
        {},
        {
            "model_type": "minicpmv4_6",
            "downsample_mode": "16x",
            "vision_config": {"patch_size": 14},
        },
    ),
    "minicpmv4_7": (
        "MiniCPMV4_6VideoProcessor",
        {"max_slice_nums": 1, "downsample_mode": "4x"},
        "MiniCPMV4_7Processor",
        {},
        {"model_type": "minicpmv4_7", "downsample_mode": "4x", "vision_config": {"patch_size": 14}},
    ),
    "perception_lm": (
        "PerceptionLMVideoProcessor",
        {},
        "PerceptionLMProcessor",
        {},
        {
            "vision_config": {
                "architecture": "vit_pe_core_large_patch14_336",
                "model_args": {"img_size": [448, 448]},
            },
            "projector_pooling_ratio": 2,
        },
    ),
    "molmo2": (
        "Molmo2VideoProcessor",
        {"do_rescale": True, "do_normalize": True},  # as its published files say
        "Molmo2Processor",
        {"size": [378, 378]},
        {"vision_config": {"patch_size": 14, "image_size": [378, 378]}},
    ),
}
WRITER = {
    "num_image_tokens": 729, "patch_size": 14, "image_seq_length": 256, "image_seq_len": 169,
    "start_image_token": "<img>",
    "end_image_token": "</img>", "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "image_end_token": "</image>", "pooling_ratio": 2,
    "use_frame_special_tokens": True, "video_use_col_tokens": False, "video_slice_mode": True,
    "boi_token": "<|image>", "eoi_token": "<image|>",
    "vision_start_token": "<|vision_start|>", "vision_end_token": "<|vision_end|>",
}  # fmt: skip
TOKENS = {
    "internvl": "<IMG_CONTEXT>",
    "smolvlm": "<image>",
    "llava_onevision": "<video>",
    "llava_next_video": "<video>",
    "perception_lm": "<|video|>",
    "molmo2": "<im_patch>",
    "gemma4": "<|video|>",
    "glm4v": "<|image|>",
    "glm46v": "<|image|>",
    "gemma4_unified": "<|video|>",
}


def clip(count: int, height: int, width: int, still: bool) -> torch.Tensor:
    """Random frames; with `still` every second one differs from the last in one quarter alone."""
    generator = torch.Generator().manual_seed(count * height + width)
    frames = torch.randint(
        0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8
    )
    for i in range(1, count, 2) if still else ():
        frames[i, :, height // 2 :] = frames[i - 1, :, height // 2 :]
        frames[i, :, :, width // 2 :] = frames[i - 1, :, :, width // 2 :]
    return frames


def sample(values: torch.Tensor) -> list[float]:
    """Values spread evenly over a flattened tensor."""
    flat = values.flatten().to(torch.float64)
    picks = torch.linspace(0, len(flat) - 1, min(SAMPLES, len(flat))).long()
    return [round(value, 7) for value in flat[picks].tolist()]


def shorten(text: str, token: str) -> str:
    """Runs of a placeholder as `token*count`."""
    return re.sub(f"(?:{re.escape(token)})+", lambda m: f"{token}*{len(m[0]) // len(token)}", text)


def golden(family: str, count: int, height: int, width: int) -> dict[str, Any]:
    """Run one clip through the video processor and the text writer."""
    processor_name, options, writer_name, settings, config = FAMILIES[family]
    processor = getattr(transformers, processor_name)(**options)
    frames = clip(count, height, width, family == "video_llama_3")
    fps, indices = 25.0, list(range(0, count * 30, 30))
    metadata = VideoMetadata(total_num_frames=count * 30, fps=fps, frames_indices=list(indices))
    found = processor(
        videos=[frames],
        video_metadata=[metadata],
        return_metadata=True,
        do_sample_frames=False,
        return_tensors="pt",
    )
    writer_class = getattr(transformers, writer_name)
    writer = writer_class.__new__(writer_class)
    token = TOKENS.get(family, "<|video_pad|>")
    writer.__dict__.update(WRITER, video_processor=processor, image_token=token, video_token=token)
    # Read by MiniCPM-V alone: what its own __call__ hands on, and a token that SmolVLM has too.
    if family.startswith("minicpm"):
        writer.image_start_token = "<image>"
    divisor = 4 if options.get("downsample_mode") == "4x" else 16
    text = shorten(writer.replace_video_token(found, 0, video_token_divisor=divisor), token)
    tensors = {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
    # All ones for whole frames, what the model assumes without it; and what only the text is
    # written from.
    for left_out in (
        "pixel_attention_mask",
        "num_soft_tokens_per_video",
        "grids_videos",
        "num_patches_per_frame",
    ):
        tensors.pop(left_out, None)
    return {
        "family": family,
        "frames": [count, height, width],
        "times": [i / fps for i in indices],
        "settings": settings,
        "config": config,
        "text": text,
        "shapes": {key: list(value.shape) for key, value in tensors.items()},
        "samples": {key: sample(value) for key, value in tensors.items()},
        "sums": {
            key: round(float(value.to(torch.float64).abs().sum()), 2)
            for key, value in tensors.items()
        },
        "frames_sha256": hashlib.sha256(frames.numpy().tobytes()).hexdigest()[:16],
    }


def main() -> None:
    """Write the goldens of all families beside this file."""
    rows = [golden(family, *shape) for family in FAMILIES for shape in CLIPS]
    head = {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]}
    lines = ",\n".join(json.dumps(row) for row in rows)
    Path(__file__).with_name("goldens.json").write_text(
        f'{{"versions": {json.dumps(head)}, "rows": [\n{lines}\n]}}\n'
    )


if __name__ == "__main__":
    main()
