"""`FusionConfig`: every choice that defines a fusion function, and what the function costs.

`FusionSettings` is what the settings of any fusion have, a user's own included.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from pave.errors import ConfigError

Size = Annotated[int, Field(ge=1, le=2**20)]
"""A width or a count; beyond this nothing fits into any memory."""


class FusionSettings(BaseModel):
    """What the rest of pave asks of the settings of any fusion: its name, its widths, its size.

    Settings of a fusion of your own inherit from this, say their name as the default of `type` and
    count their parameters.

    Example:
        >>> class Plain(FusionSettings):
        ...     type: Literal["plain"] = "plain"
        ...
        ...     def parameters(self) -> int:
        ...         return self.side_dim * self.out_dim
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: str = Field(description="Name of the fusion, as it was registered.")
    side_dim: Size = Field(description="C of the side tokens, as the channel's encoder makes them.")
    query_dim: Size = Field(description="C of the query tokens, as the base makes them.")
    out_dim: Size = Field(
        description="C of the residual: the hidden size of the base's language model."
    )
    query: Literal["pre_projector", "projected"] = Field(
        default="pre_projector",
        description="Which of the base's tokens are the query. Read by the seam, not by the fusion.",
    )

    @abstractmethod
    def parameters(self) -> int:
        """Number of parameters of the fusion."""

    def flops(self, frames: int, query_tokens: int, side_steps: int, side_tokens: int = 1) -> int:
        """Floating-point operations for one clip.

        Unless a fusion knows better: a multiply-add of every weight for every query token.
        """
        return 2 * self.parameters() * frames * query_tokens


class FusionConfig(FusionSettings):
    """Shape and rules of a fusion function g(query tokens, side tokens) -> residual.

    The defaults are those of new patches. The authors' released checkpoints differ in `tie_kv` and
    `alignment` (and, for one of them, `rope`); `pave.paper.fusion_config` makes their
    configs.

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
    layers: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=2, description="Blocks of attention and MLP."
    )
    rope: Literal["3d"] | None = Field(
        default=None, description="Rotary positions in time, height and width, or none."
    )
    tie_kv: bool = Field(
        default=False,
        description="Use the key projection for values too, as the authors' code does. The value "
        "projection that their files"
        " hold all the same is kept, frozen and unused, so that counts agree and files convert "
        "both ways.",
    )
    alignment: Literal["times", "groups"] = Field(
        default="times",
        description="Which side steps a frame sees: those of its own interval of time, or the "
        "authors' even split by number.",
    )
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(
        default=0.0, description="Dropout before the output norm."
    )
    output_norm: bool = Field(
        default=True,
        description="LayerNorm at the end with weight and bias 0, so that a fresh patch changes "
        "nothing. Without it, it does.",
    )
    output_layers: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=2,
        description="Linear layers of the output MLP; 0: none (needs out_dim = hidden), 1 and 3 "
        "or more: out_dim = 2 hidden.",
    )
    learnable_query: tuple[Size, Size] | None = Field(
        default=None,
        description="(frames, tokens a frame) of a learnt query that takes the place of the "
        "base's tokens.",
    )
    start_end_tokens: bool = Field(
        default=False,
        description="Hold the four marker tokens of the authors' 'interleave' files. Adding "
        "residuals never uses them.",
    )

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the default name out: files stay those of versions that had one fusion."""
        fields: dict[str, Any] = write(self)
        fields.pop("type", None)
        return fields

    @model_validator(mode="after")
    def _agree(self) -> Self:
        """Refuse settings that contradict each other, in words that say which to change."""
        if self.hidden % self.heads:
            raise ConfigError(
                f"hidden={self.hidden} is not a multiple of heads={self.heads}; change one of them"
            )
        if self.rope == "3d" and self.head_dim % 16:
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
            raise ConfigError(
                "a learnable query has no times of its own; use alignment='groups' with it"
            )
        return self

    @property
    def memory_dim(self) -> int:
        """Width of the mapped side tokens."""
        return self.hidden if self.memory is None else self.memory

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    def parameters(self, idle: bool = True) -> int:
        """Number of parameters.

        Args:
            idle: Count also what is stored but never used (the value projections of `tie_kv`, the
                marker tokens). The authors' published numbers do; False counts what training
                changes.
        """
        value = self.memory_dim * self.hidden + self.hidden
        unused = value * self.layers * self.tie_kv + 4 * self.out_dim * self.start_end_tokens
        block = (self.hidden + 1) * self.hidden + 2 * value + 2 * self.hidden + 4 * self.hidden**2
        total = (self.side_dim + 1) * self.memory_dim + self.layers * block
        if self.learnable_query is None:
            total += (self.query_dim + 1) * self.hidden
        else:
            total += self.learnable_query[0] * self.learnable_query[1] * self.hidden
        total += sum((a + 1) * b for a, b in self.output_widths())
        total += 2 * self.out_dim * self.output_norm + 4 * self.out_dim * self.start_end_tokens
        return total if idle else total - unused

    def output_widths(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer of the output MLP."""
        if self.output_layers == 0:
            return []
        return [(self.hidden, 2 * self.hidden)] + [(2 * self.hidden, self.out_dim)] * (
            self.output_layers - 1
        )

    def flops(self, frames: int, query_tokens: int, side_steps: int, side_tokens: int = 1) -> int:
        """Floating-point operations of the matrix products for one clip (a multiply-add counts as two).

        Args:
            frames: T_q, frames of the clip.
            query_tokens: S_q, query tokens of one frame.
            side_steps: T_k, steps of the side channel.
            side_tokens: S_k, side tokens of one step.

        Example:
            >>> config = FusionConfig(side_dim=1024, query_dim=1152, out_dim=3584)
            >>> round(config.flops(frames=32, query_tokens=196, side_steps=32) / 1e9)
            93
        """
        queries = frames * query_tokens
        mapped = side_steps * side_tokens
        # Interpolated steps are projected, too; under "times" one step may serve several frames and
        # is projected once.
        keys = (max(side_steps, frames) if self.alignment == "groups" else side_steps) * side_tokens
        attended = max(side_steps, frames) * side_tokens * query_tokens
        projections = 1 if self.tie_kv else 2
        block = queries * self.hidden**2 + projections * keys * self.memory_dim * self.hidden
        block += 2 * attended * self.hidden + 4 * queries * self.hidden**2
        total = mapped * self.side_dim * self.memory_dim + self.layers * block
        total += queries * self.query_dim * self.hidden * (self.learnable_query is None)
        total += queries * sum(a * b for a, b in self.output_widths())
        return 2 * total
