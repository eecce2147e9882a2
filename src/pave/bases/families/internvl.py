"""InternVL 3: square frames as a run of images, 2x2 pixel shuffle, "Frame1: " before each.

The model knows no video: frames of all clips come and go as one list of images, so only the caller
knows where a clip ends. Tokens run: frame, row, column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.common import (
    container,
    frame_counts,
    frame_rows,
    pooled,
    selected_hidden,
    side_of,
)
from pave.bases.family import Family
from pave.bases.preprocess import normalize, resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import IMAGENET_MEAN, IMAGENET_STD, BaseSettings
from pave.bases.visual import Clip, Layout, Visual

STYLE = PromptStyle(
    head="<|im_start|>user\n",
    after_video="\n",
    ask="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    again="\n<|im_start|>user\n",
)


@register_family
class InternVL(Family):
    """See the module's text."""

    name = "internvl"
    model_types = ("internvl",)
    placeholder = "<IMG_CONTEXT>"
    style = STYLE
    video_text = "<video>"
    method = "get_image_features"
    modality = "image"
    pixels = "pixel_values"

    def settings(self) -> BaseSettings:
        """32 frames squared to the tower's image size, no tiling (as for all videos)."""
        size = self.config.vision_config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return BaseSettings(
            frames=32, size=(int(height), int(width)), mean=IMAGENET_MEAN, std=IMAGENET_STD
        )

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Resize, normalise; one line of text a frame."""
        pixels = normalize(resize(frames, settings.size), settings)
        span = "<img>" + self.placeholder * self.config.image_seq_length + "</img>"
        count = frames.shape[0]
        # Frames count from one, as in its training.
        text = "\n".join(f"Frame{number}: {span}" for number in range(1, count + 1))
        return Clip({"pixel_values": pixels}, times, text, count)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """`[frames of all clips, S, D]`; query: the mean of the patches that one token shuffles."""
        tokens = output.pooler_output  # [frames of all clips, S, D]
        counts = frame_counts(frames_per_clip, tokens.shape[0])
        side = side_of(tokens.shape[1])
        queries: Sequence[Tensor | None] = [None] * len(counts)
        if want_query:
            factor = round(1 / self.config.downsample_ratio)
            means = pooled(self._hidden(output, args), factor)  # [frames, S, C_q]
            queries = means.split(counts)
        visuals = []
        for part, query in zip(tokens.split(counts), queries, strict=True):
            layout = Layout(part.shape[0], side, side)
            visuals.append(Visual(part.flatten(0, 1), layout, query))
        return visuals

    def _hidden(self, output: Any, args: Mapping[str, Any]) -> Tensor:
        """The layer that the projector reads; for the last one InternVL takes the tower's output.

        That output lies behind a norm that `hidden_states[-1]` lacks.
        """
        layer = args.get("vision_feature_layer")
        if layer is None:
            layer = self.config.vision_feature_layer
        if layer != -1:
            return selected_hidden(self.config, output, args)
        strategy = (
            args.get("vision_feature_select_strategy") or self.config.vision_feature_select_strategy
        )
        first = 1 if strategy == "default" else 0  # the tower's CLS token, which is dropped
        hidden: Tensor = output.last_hidden_state
        return hidden[:, first:]

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """All frames of all clips in one tensor, one row a frame."""
        return container(output, frame_rows(visuals))
