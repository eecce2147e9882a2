"""`FusionConfig`: every choice that defines the fusion function, read without torch.

And `ConcatConfig`, of the arm that it is compared with.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pave.errors import ConfigError
from pave.fusion_registry import FusionSettings, Size


class FusionConfig(FusionSettings):
    """Shape and rules of the fusion function g(query tokens, side tokens) -> residual.

    The defaults are those of new patches. The authors' released checkpoints differ in `tie_kv` and
    `alignment` (and one of them in `rope`); `pave.paper.fusion_config` makes their configs.

    Raises:
        ConfigError: If two settings contradict each other.
    """

    type: Literal["cross_attention"] = Field(
        default="cross_attention",
        description="Name of this fusion; not written to `patch.json`.",
        exclude=True,  # files stay those of versions that knew one fusion
    )
    # Sizes of the blocks.
    hidden: Size = Field(
        default=512,
        description="Width of the blocks.",
    )
    memory: Size | None = Field(
        default=None,
        description="Width of the mapped side tokens; by default that of `hidden`.",
    )
    heads: Size = Field(
        default=4,
        description="Attention heads.",
    )
    layers: int = Field(
        default=2,
        ge=1,
        le=1000,
        description="Number of blocks of attention and MLP.",
    )
    # What attention compares, and what it sums.
    rope: Literal["3d"] | None = Field(
        default=None,
        description="Rotary positions: in time, height, and width, or none.",
    )
    tie_kv: bool = Field(
        default=False,
        description="Use the keys as values, as the authors' code does. The value projection of "
        "their files is kept but frozen and unused, so that parameter counts agree "
        "and files convert both ways.",
    )
    alignment: Literal["times", "groups"] = Field(
        default="times",
        description="Which steps a frame attends to: those of its own interval of time, or an "
        "equal share by count.",
    )
    # From the last block to the residual.
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Dropout before the output norm.",
    )
    output_norm: bool = Field(
        default=True,
        description="End with a LayerNorm that starts at 0, so that a fresh patch changes nothing.",
    )
    output_layers: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="Number of linear layers of the output MLP. 0 (none) needs out_dim = "
        "hidden; 1, and 3 or more, need out_dim = 2 * hidden.",
    )
    question_gate: bool = Field(
        default=False,
        description="Decide by the words of a question whether it is answered with the residual or "
        "without it.",
    )
    # Of the authors' files alone.
    learnable_query: tuple[Size, Size] | None = Field(
        default=None,
        description="(frames, tokens per frame) of a learnt query that replaces the base's tokens.",
    )
    start_end_tokens: bool = Field(
        default=False,
        description="Store the four unused marker tokens of the authors' 'interleave' files.",
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden={self.hidden} is not a multiple of heads={self.heads}; change one of them"
            )
        if self.rope == "3d" and self.head_dim % 16:  # pairs split 2 : 3 : 3
            raise ConfigError(
                "rope='3d' needs hidden / heads to be a multiple of 16 (the authors use 128), "
                f"got {self.head_dim}"
            )
        ends = {0: self.hidden, 2: self.out_dim}  # 2 layers end in any width
        if self.out_dim != ends.get(self.output_layers, 2 * self.hidden):
            raise ConfigError(
                f"out_dim={self.out_dim} does not fit output_layers={self.output_layers}: 0 "
                "needs out_dim = hidden, 1 and 3 or more out_dim = 2 * hidden, hidden is "
                f"{self.hidden}; use 2"
            )
        if self.learnable_query is not None and self.alignment != "groups":
            raise ConfigError("a learnable query has no times; combine it with alignment='groups'")
        return self

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the gate where there is none: older versions of pave refuse it."""
        fields: dict[str, Any] = write(self)
        if not self.question_gate:
            fields.pop("question_gate", None)
        return fields

    @property
    def knows_places(self) -> bool:
        """Whether rotary positions tell the places of a frame apart."""
        return self.rope is not None

    @property
    def memory_dim(self) -> int:
        """Width of the mapped side tokens."""
        return self.memory or self.hidden  # 0 is refused, so only None is false

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def output_widths(self) -> list[int]:
        """Widths along the output MLP: before its first linear layer, and after each."""
        widths = [self.hidden, 2 * self.hidden]
        widths += [self.out_dim] * (self.output_layers - 1)
        return widths[: self.output_layers + 1]


class ConcatConfig(FusionSettings):
    """Shape of the *concat* arm, which appends side tokens to the visual ones.

    It costs tokens, and a fresh one is not the base: it is there to be compared with.
    """

    appends: ClassVar[bool] = True

    type: Literal["concat"] = Field(default="concat", description="This fusion's name.")
    hidden: Size = Field(default=512, description="Width between its two layers.")
