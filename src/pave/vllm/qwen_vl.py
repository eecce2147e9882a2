"""Qwen2-VL and Qwen2.5-VL in vLLM, with the fusion of the patch that is asked.

Their clips are a flat list of patches and a grid. Two things differ from vLLM's own classes, so
that answers are those of transformers: pixels come normalised, and text behind a clip stands where
transformers puts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.model_executor.models.qwen2_vl import (
    Qwen2VLDummyInputsBuilder,
    Qwen2VLForConditionalGeneration,
    Qwen2VLMultiModalDataParser,
    Qwen2VLMultiModalProcessor,
    Qwen2VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from pave.bases import Visual
from pave.vllm.clips import FIELDS, PIXELS, part_asked, residual
from pave.vllm.patches import served
from pave.vllm.processing import OwnClips, OwnSettings

GRID = "video_grid_thw"
# What positions depend on, beside the ids.
PLACES = ("image_grid_thw", GRID, "second_per_grid_ts")


class InfoOf(OwnSettings):
    """Clips come with what is known of them."""

    def get_data_parser(self: Any) -> Any:
        """Frames and the mapping beside them stay together."""
        return Qwen2VLMultiModalDataParser(
            self.get_hf_config().vision_config.spatial_merge_size,
            video_needs_metadata=True,
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )


class DummiesOf:
    """Clips of which nothing is known, for vLLM to warm up with."""

    def _get_dummy_videos(self, **named: Any) -> list[Any]:
        # Qwen2.5-VL's builder adds what its own reader would know.
        found = Qwen2VLDummyInputsBuilder._get_dummy_videos(self, **named)
        return [(frames, {}) for frames in found]


class ClipsInRow(OwnClips):
    """Patches and grids of all clips stand behind each other."""

    @staticmethod
    def together(values: Sequence[Tensor]) -> Tensor:
        """`[patches of all clips, ...]`."""
        return torch.cat(list(values))


class Patched:
    """vLLM's own class, whose clips get the residual of the patch that is asked."""

    # Else vLLM would normalise in front of the tower what pave has normalised already.
    supports_mm_device_do_normalize = False

    def get_mrope_input_positions(
        self, input_tokens: Sequence[int], mm_features: Sequence[Any]
    ) -> tuple[Tensor, int]:
        """`[3, L]` positions, and how much further than L the next token stands.

        Behind a clip, vLLM's own rule goes on from the largest position. That of transformers, by
        which patches are trained, goes on from the clip's height or width.
        """
        base = served().base
        ids = torch.tensor([input_tokens])  # [1, L]
        positions, _ = base.inner.get_rope_index(
            ids,
            mm_token_type_ids=base.family.types_of(ids),
            **_places(mm_features),
        )
        found = positions[:, 0]  # [3, L]
        following = int(found[:, -1].max()) + 1
        return found, following - len(input_tokens)

    def embed_multimodal(self: Any, **kwargs: Any) -> Any:
        """Visual tokens of pictures or clips, one tensor each."""
        columns = [kwargs.pop(name, None) for name in FIELDS]
        if PIXELS not in kwargs or columns[0] is None:
            return super().embed_multimodal(**kwargs)  # type: ignore[misc]
        hidden: list[Tensor] = []  # the tower's last layer

        def keep(module: Any, args: tuple[Tensor, ...]) -> None:
            hidden.append(args[0].flatten(0, -2))  # [patches, C_q]

        # The first layer of the merger, which itself may be compiled: no hook of it is called then.
        with self.visual.merger.ln_q.register_forward_pre_hook(keep):
            tokens = super().embed_multimodal(**kwargs)  # type: ignore[misc]
        output = SimpleNamespace(
            pooler_output=tokens,
            last_hidden_state=torch.cat(hidden),
        )
        grids = torch.as_tensor(kwargs[GRID]).reshape(-1, 3).cpu()
        family = served().base.family
        visuals = family.split(output, {GRID: grids}, None, True)
        found = []
        for visual, *beside in zip(visuals, *columns, strict=True):
            found.append(_patched(visual, *beside))
        return tuple(found)


def _places(features: Sequence[Any]) -> dict[str, Tensor]:
    """Grids and seconds of all pictures and clips of a prompt, `[n, 3]` and `[n]`, in its order."""
    columns: dict[str, list[Tensor]] = {}
    in_order = sorted(features, key=lambda one: one.mm_position.offset)
    for feature in in_order:
        for name in PLACES:
            if name not in feature.data:
                continue
            value = feature.data[name].data
            columns.setdefault(name, []).append(value)
    return {name: torch.stack(values) for name, values in columns.items()}


def _patched(
    visual: Visual,
    patch: Tensor,
    times: Tensor,
    side: Tensor,
    side_times: Tensor,
) -> Tensor:
    """`[T * S, D]`: a clip's tokens, with the residual of the patch that is asked."""
    part = part_asked(patch, side)
    if part is None:
        return visual.tokens
    query = visual.grid()  # [T, S, D]
    if part.spec.fusion.query == "pre_projector":
        assert visual.query is not None  # asked for
        query = visual.query
    added = residual(part, query, times, side, side_times)
    return visual.tokens + added.flatten(0, 1).to(visual.tokens.dtype)


class Info2(InfoOf, Qwen2VLProcessingInfo):  # type: ignore[misc]  # vLLM is untyped here
    """Of Qwen2-VL."""


class Dummies2(DummiesOf, Qwen2VLDummyInputsBuilder):  # type: ignore[misc]
    """Of Qwen2-VL."""


class Processor2(ClipsInRow, Qwen2VLMultiModalProcessor):  # type: ignore[misc]
    """Of Qwen2-VL."""


@MULTIMODAL_REGISTRY.register_processor(Processor2, info=Info2, dummy_inputs=Dummies2)
class PaveQwen2VL(Patched, Qwen2VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen2-VL with patches."""


class Info25(InfoOf, Qwen2_5_VLProcessingInfo):  # type: ignore[misc]
    """Of Qwen2.5-VL."""


class Dummies25(DummiesOf, Qwen2_5_VLDummyInputsBuilder):  # type: ignore[misc]
    """Of Qwen2.5-VL."""


class Processor25(ClipsInRow, Qwen2_5_VLMultiModalProcessor):  # type: ignore[misc]
    """Of Qwen2.5-VL."""


@MULTIMODAL_REGISTRY.register_processor(Processor25, info=Info25, dummy_inputs=Dummies25)
class PaveQwen25VL(Patched, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]
    """Qwen2.5-VL with patches."""
