"""`ExtractConfig`: what to extract from which records into which token cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pave.bases.inputs import FrameChoice, InputSpec
from pave.bases.loading import Loading
from pave.data.share import share_of
from pave.placement import DTYPE_HELP, DtypeWord
from pave.renamed import renamed


class ExtractConfig(Loading):
    """Settings of an extraction.

    Example:
        >>> sound = {"channel": "audio", "encoder": "mel"}
        >>> ExtractConfig(records="a.jsonl", cache="tokens", shard="2/8", **sound).share
        (1, 8)
    """

    records: Path = Field(description="Records: JSONL, JSON, CSV, Parquet, tar, or a data set.")
    cache: Path = Field(
        description="Folder of the token cache; it is created if it does not exist."
    )
    channel: str | None = Field(None, description="Side channel to encode.")
    encoder: str | None = Field(None, description="Encoder of the channel.")
    encoder_settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of the encoder."
    )
    visual: bool = Field(
        False,
        description="Compute the base's own visual tokens, too; without a channel, only these.",
    )
    base: str | None = Field(
        None,
        description="The base whose vision tower makes the visual tokens, or is used by the "
        'encoder: a folder, a Hub id, or "smol".',
    )
    inputs: InputSpec = Field(
        InputSpec(),
        description="How the base gets its inputs; set it if the training settings or "
        "patch.json do.",
    )
    frames: FrameChoice | None = Field(
        None,
        description="Number of evenly spread frames for visual tokens, or auto for the frames "
        "that the base's own video processor takes. By default the base's own number.",
    )
    dtype: DtypeWord = Field("auto", description=DTYPE_HELP)
    cache_dtype: Literal["bf16", "exact"] | None = Field(
        None,
        description="Type of the stored tokens: bf16, or exact for the encoder's own type. By "
        "default that of the cache, and bf16 for a new one.",
    )
    workers: int = Field(
        1,
        ge=0,
        description="Number of processes that encode. With 0, this process encodes, and a clip "
        "that crashes a decoder ends it.",
    )
    shard: str | None = Field(
        None,
        description='Do only a share of the work, for example "2/8" for the second of eight.',
    )
    retry: bool = Field(False, description="Try clips again that the cache has recorded as broken.")

    @model_validator(mode="before")
    @classmethod
    def _old_names(cls, values: Any) -> Any:
        names = {"store": "cache"}
        # The one word of the old `dtype` that the present one does not have.
        if isinstance(values, Mapping) and values.get("dtype") == "exact":
            names["dtype"] = "cache_dtype"
        return renamed(values, names, "extraction settings")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.channel is None) != (self.encoder is None):
            raise ValueError("channel and encoder belong together; set both or neither")
        if self.channel is None and not self.visual:
            raise ValueError("nothing to extract; set channel and encoder, or visual")
        if self.visual and self.base is None:
            raise ValueError("visual tokens are made by the vision tower of a base; set base")
        if self.dtype != "auto" and self.base is None:
            raise ValueError(
                "dtype sets the type of the base, but no base is set; for the type of the "
                "stored tokens, use cache_dtype"
            )
        # What loads a base would be ignored without one.
        for name, value in self.options.items():
            if value is not None and self.base is None:
                raise ValueError(f"{name} affects how the base is loaded, but no base is set")
        # Refused with the other settings, rather than when the work begins.
        share_of(self.shard)
        return self

    @property
    def share(self) -> tuple[int, int]:
        """(number of the part counted from 0, number of parts)."""
        return share_of(self.shard)
