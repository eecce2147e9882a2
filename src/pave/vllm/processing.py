"""What all families prepare alike: clips as pave does, pictures as vLLM does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataItems

from pave.vllm.clips import FIELDS, prepared

VIDEO = "video"


class OwnSettings:
    """For a processing info: clips are prepared by pave, so a request has nothing to set."""

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """None."""
        return {"text_kwargs": set()}


class OwnClips:
    """For a processor, in front of vLLM's own class."""

    @staticmethod
    def together(values: Sequence[Tensor]) -> Any:
        """What is made of one tensor of each clip: a list, unless a family says otherwise."""
        return list(values)

    def _get_mm_fields_config(self, *words: Any, **named: Any) -> dict[str, Any]:
        fields = dict(super()._get_mm_fields_config(*words, **named))  # type: ignore[misc]
        for name in FIELDS:
            fields[name] = MultiModalFieldConfig.batched(VIDEO, keep_on_cpu=True)
        return fields

    def _apply_hf_processor_main(
        self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]
    ) -> BatchFeature:
        pictures = MultiModalDataItems({k: v for k, v in mm_items.items() if k != VIDEO})
        found = BatchFeature()
        if pictures:
            found = super()._apply_hf_processor_main(pictures, hf_kwargs)  # type: ignore[misc]
        videos = mm_items.get(VIDEO)
        if videos is None or not videos.get_count():
            return found
        columns: dict[str, list[Tensor]] = {}
        for number in range(videos.get_count()):
            clip, beside = prepared(*videos.get(number))
            for name, value in {**clip.pixels, **beside}.items():
                columns.setdefault(name, []).append(value)
        for name, values in columns.items():
            found[name] = values
            # Those of pave stay apart: they differ in length from clip to clip.
            if name not in FIELDS:
                found[name] = self.together(values)
        return found
