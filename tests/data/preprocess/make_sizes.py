"""Writes sizes.json: what Hugging Face's video processors resize large and long clips to.

For developers only; run it as make.py. No pixel is computed: the frames are on the meta device, and
the last step, which resizes them, is replaced by one that tells the size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

_library = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import transformers  # noqa: E402
from transformers.image_utils import SizeDict  # noqa: E402
from transformers.video_processing_utils import BaseVideoProcessor  # noqa: E402

CLIPS = (
    (32, 1080, 1920), (32, 2160, 3840), (32, 360, 640), (32, 720, 1280), (32, 240, 320),
    (768, 1080, 1920), (7, 1080, 1920), (2, 2160, 3840), (1000, 360, 640),
)  # fmt: skip
PHOTO = {"size": {"shortest_edge": 3136, "longest_edge": 12845056}}  # Qwen2-VL's image limits
FILM = {"size": {"shortest_edge": 4096, "longest_edge": 25165824}}  # Qwen3-VL's video limits
CAP = {"cap_pixels_per_frame": True}
# family: (video processor, pixels along a token's side, what its file says)
FAMILIES: dict[str, tuple[str, int, tuple[dict[str, Any], ...]]] = {
    "qwen2_vl": (
        "Qwen2VLVideoProcessor",
        28,
        (CAP, PHOTO, {**PHOTO, **CAP}, {**CAP, "max_video_tokens": 4000}),
    ),
    "qwen3_vl": (
        "Qwen3VLVideoProcessor",
        32,
        (FILM, {**FILM, **CAP}, {**FILM, **CAP, "max_video_tokens": 100}),
    ),
}


def main() -> None:
    """Ask every processor about every clip."""
    BaseVideoProcessor.resize = lambda self, image, size, resample: [size.height, size.width]
    rows = []
    for family, (name, factor, files) in FAMILIES.items():
        for file in files:
            processor = getattr(transformers, name)(**file)
            for count, height, width in CLIPS:
                size = processor.resize(
                    torch.empty(1, count, 3, height, width, dtype=torch.uint8, device="meta"),
                    size=SizeDict(**dict(processor.size)),
                    resample=None,
                    factor=factor,
                    temporal_factor=2,
                    cap_pixels_per_frame=bool(processor.cap_pixels_per_frame),
                )
                row = {"family": family, "file": file, "clip": [count, height, width], "size": size}
                rows.append(json.dumps(row))
    text = '{"rows": [\n' + ",\n".join(rows) + "\n]}\n"
    Path(__file__).with_name("sizes.json").write_text(text)


if __name__ == "__main__":
    main()
