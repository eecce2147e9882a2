"""LLaVA-OneVision in vLLM, with the fusion of the patch that is asked.

Beside its pixels, each clip brings four tensors through vLLM, see `pave.vllm.clips`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.interfaces import SupportsLoRA
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import PromptReplacement

from pave.bases.families.common import pooled
from pave.vllm.clips import FIELDS, PIXELS, part_asked, residual
from pave.vllm.patches import served
from pave.vllm.processing import OwnClips, OwnSettings

_TOWER = re.compile(r"^(model\.)?vision_tower\.(?!vision_model\.)")


class Info(OwnSettings, LlavaOnevisionProcessingInfo):  # type: ignore[misc]  # vLLM is untyped here
    """Clips come with what is known of them."""

    def get_data_parser(self) -> Any:
        """Frames and the mapping beside them stay together."""
        return MultiModalDataParser(
            video_needs_metadata=True,
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )


class Dummies(LlavaOnevisionDummyInputsBuilder):  # type: ignore[misc]
    """What vLLM warms up with."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Placeholders alone."""
        images = "<image>" * mm_counts.get("image", 0)
        return images + "<video>" * mm_counts.get("video", 0)

    def get_dummy_mm_data(self, *words: Any, **named: Any) -> dict[str, Any]:
        """Clips of which nothing is known."""
        data = dict(super().get_dummy_mm_data(*words, **named))
        data["video"] = [(frames, {}) for frames in data["video"]]
        return data


class Processor(OwnClips, LlavaOnevisionMultiModalProcessor):  # type: ignore[misc]
    """A clip's placeholder is as many tokens as pave says."""

    @staticmethod
    def together(values: Sequence[Tensor]) -> list[Tensor]:
        """`[F, 3, H, W]` of each clip: their numbers of frames differ."""
        return [value[0] for value in values]

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Any, out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(mm_items, hf_processor_mm_kwargs, out_mm_kwargs)
        others = [update for update in updates if update.modality != "video"]
        place = self.info.get_hf_config().video_token_index

        def tokens(number: int) -> list[int]:
            item = out_mm_kwargs["video"][number]
            frames = len(item["pave_times"].data)
            return [place] * served().tokens(frames)

        ours = PromptReplacement(modality="video", target=[place], replacement=tokens)
        return [*others, ours]


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=Dummies)
class PaveLlavaOnevision(LlavaOnevisionForConditionalGeneration, SupportsLoRA):  # type: ignore[misc]
    """vLLM's own class, whose clips get the residual of the patch that is asked."""

    packed_modules_mapping = {
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    # vLLM's own, and the tower's names as transformers 5 saves them.
    hf_to_vllm_mapper = LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper | WeightsMapper(
        orig_to_new_regex={_TOWER: "vision_tower.vision_model."}
    )

    def get_mm_mapping(self) -> Any:
        """Where LoRAs go: to the language model alone."""
        return MultiModelKeys.from_string_field(
            language_model="language_model",
            connector="multi_modal_projector",
            tower_model="vision_tower",
        )

    def embed_multimodal(self, **kwargs: Any) -> Any:
        """Visual tokens of pictures or clips, one tensor each."""
        if PIXELS not in kwargs:
            return super().embed_multimodal(**kwargs)
        columns = [kwargs[name] for name in (PIXELS, *FIELDS)]
        return tuple(self._see(*clip) for clip in zip(*columns, strict=True))

    def _see(
        self, pixels: Tensor, patch: Tensor, times: Tensor, side: Tensor, side_times: Tensor
    ) -> Tensor:
        """`[F * S + 1, D]` of one clip."""
        hidden = self.vision_tower(
            pixels.to(self.image_newline.dtype),
            feature_select_strategy=self.config.vision_feature_select_strategy,
        )  # [F, g * g, C]
        tokens = self.apply_pooling(self.multi_modal_projector(hidden))  # [F, S, D]
        part = part_asked(patch, side)
        if part is not None:
            query = tokens
            if part.spec.fusion.query == "pre_projector":
                query = pooled(hidden, 2, "bilinear")
            added = residual(part, query, times, side, side_times)
            tokens = tokens + added.to(tokens.dtype)
        return torch.cat([tokens.flatten(0, 1), self.image_newline[None]])
