"""`FusionConfig`: every choice that defines the fusion function, and what it costs.

`FusionSettings` is what the settings of any fusion have, a user's own included.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator

from pave.errors import ConfigError

Size = Annotated[int, Field(ge=1, le=2**20)]
"""A width or a count; beyond this nothing fits into any memory."""


class FusionSettings(BaseModel):
    """What the rest of pave asks of the settings of any fusion: its name, its widths, its size.

    Settings of a fusion of your own inherit from this, say their name as the default of `type` and
    count their parameters.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="Name of the fusion, as it was registered.")
    side_dim: Size = Field(description="C of the side tokens, as the channel's encoder makes them.")
    query_dim: Size = Field(description="C of the query tokens, as the base makes them.")
    out_dim: Size = Field(description="C of the residual: the language model's hidden size.")
    query: Literal["pre_projector", "projected"] = Field(
        default="pre_projector", description="Which of the base's tokens the seam takes as query."
    )

    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters of the fusion."""

    def flops(self, frames: int, query_tokens: int, side_steps: int, side_tokens: int = 1) -> int:
        """Floating-point operations for one clip, a multiply-add counted as two.

        Unless a fusion knows better: every weight once for every query token.
        """
        return 2 * self.parameters() * frames * query_tokens


class FusionConfig(FusionSettings):
    """Shape and rules of the fusion function g(query tokens, side tokens) -> residual.

    The defaults are those of new patches. The authors' released checkpoints differ in `tie_kv` and
    `alignment` (and one of them in `rope`); `pave.paper.fusion_config` makes their configs.

    Raises:
        ConfigError: If two settings contradict each other.

    Example:
        >>> FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584).parameters()
        8996352
    """

    type: Literal["cross_attention"] = Field(
        default="cross_attention", description="This fusion's name; not written to `patch.json`."
    )
    hidden: Size = Field(default=512, description="Width of the blocks.")
    memory: Size | None = Field(
        default=None, description="Width of the mapped side tokens; None: the same as `hidden`."
    )
    heads: Size = Field(default=4, description="Attention heads.")
    layers: int = Field(default=2, ge=1, le=1000, description="Blocks of attention and MLP.")
    rope: Literal["3d"] | None = Field(
        default=None, description="Rotary positions in time, height and width, or none."
    )
    tie_kv: bool = Field(
        default=False,
        description="Take keys for values, as the authors' code does. The value projection in "
        "their files is kept, frozen and unused, so that counts agree and files convert both ways.",
    )
    alignment: Literal["times", "groups"] = Field(
        default="times",
        description="Which steps a frame sees: those of its own time, or an even split by number.",
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout before the output norm.")
    output_norm: bool = Field(
        default=True,
        description="LayerNorm at the end that starts at 0: a fresh patch changes nothing.",
    )
    output_layers: int = Field(
        default=2,
        ge=0,
        le=1000,
        description="Linear layers of the output MLP; 0: none (needs out_dim = hidden), 1 and 3 "
        "or more: out_dim = 2 hidden.",
    )
    learnable_query: tuple[Size, Size] | None = Field(
        default=None,
        description="(frames, tokens a frame) of a learnt query in place of the base's tokens.",
    )
    start_end_tokens: bool = Field(
        default=False,
        description="Hold the four marker tokens of the authors' 'interleave' files, unused.",
    )

    @model_serializer(mode="wrap")
    def _write(self, write: Any) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        del fields["type"]  # files stay those of versions that knew one fusion
        return fields

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
        if self.output_layers == 0 and self.out_dim != self.hidden:
            raise ConfigError(
                f"output_layers=0 needs out_dim = hidden, got {self.out_dim} and {self.hidden}; "
                "add an output layer"
            )
        if self.output_layers not in (0, 2) and self.out_dim != 2 * self.hidden:
            raise ConfigError(
                f"output_layers={self.output_layers} needs out_dim = 2 * hidden = "
                f"{2 * self.hidden}, got {self.out_dim}; use 2"
            )
        if self.learnable_query is not None and self.alignment != "groups":
            raise ConfigError("a learnable query has no times; use alignment='groups' with it")
        return self

    @property
    def memory_dim(self) -> int:
        """Width of the mapped side tokens."""
        return self.memory or self.hidden

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def output_widths(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer of the output MLP."""
        first, others = (self.hidden, 2 * self.hidden), (2 * self.hidden, self.out_dim)
        return [first, *[others] * (self.output_layers - 1)][: self.output_layers]

    def parameters(self, idle: bool = True) -> int:
        """Number of parameters.

        Args:
            idle: Count what is stored but never used, too, as the authors' published numbers do
                (the value projections of `tie_kv`, the marker tokens).
        """
        width = self.hidden
        value = (self.memory_dim + 1) * width
        markers = 4 * self.out_dim * self.start_end_tokens
        block = (width + 1) * width + 2 * value + 2 * width + 4 * width**2
        total = (self.side_dim + 1) * self.memory_dim + self.layers * block + markers
        if self.learnable_query is None:
            total += (self.query_dim + 1) * width
        else:
            total += self.learnable_query[0] * self.learnable_query[1] * width
        for inputs, outputs in self.output_widths:
            total += (inputs + 1) * outputs
        total += 2 * self.out_dim * self.output_norm
        if not idle:
            total -= self.layers * value * self.tie_kv + markers
        return total

    def flops(self, frames: int, query_tokens: int, side_steps: int, side_tokens: int = 1) -> int:
        """Floating-point operations of the matrix products for one clip (a multiply-add is two).

        Args:
            frames: T_q, frames of the clip.
            query_tokens: S_q, query tokens of one frame.
            side_steps: T_k, steps of the side channel; each frame has at least one to attend.
            side_tokens: S_k, side tokens of one step.

        Example:
            >>> config = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
            >>> round(config.flops(frames=32, query_tokens=196, side_steps=32) / 1e9)
            93
        """
        width, queries = self.hidden, frames * query_tokens
        keys = max(side_steps, frames) * side_tokens
        projections = 1 if self.tie_kv else 2
        block = queries * width**2 + projections * keys * self.memory_dim * width
        block += 2 * keys * query_tokens * width  # scores, and their sum over values
        block += 4 * queries * width**2  # MLP
        total = keys * self.side_dim * self.memory_dim + self.layers * block
        total += queries * self.query_dim * width * (self.learnable_query is None)
        for inputs, outputs in self.output_widths:
            total += queries * inputs * outputs
        return 2 * total
