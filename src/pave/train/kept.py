"""`Kept`: what the language model keeps of one clip for the backward pass, tensor by tensor.

Sizes are shapes times bytes, of one layer: T tokens, h width, m MLP width, a width of all heads,
b bytes of a number in the precision that it trains in.

    residual stream   2 h in fp32: the input of each norm
    attention         3 a b: queries, keys and values, the latter two repeated for all heads
                      fused: its output, a b, and a copy of the mask, T b
                      eager: a matrix of weights for each head, T in fp32 and in bf16 a copy of it
    MLP               2 m b: what meets in the gate; 3 m b where autograd goes back by itself
    LoRA              what each map A reads, and what comes out of it; with dropout a factor for
                      each number that it reads

The frozen maps themselves need no inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from pave.bases.family import Family
from pave.patches import LoraSpec
from pave.patches.lora_targets import lora_shapes

BYTES = {"bf16": 2, "fp32": 4}
"""Of a number."""

FP32 = BYTES["fp32"]


class Adapted(NamedTuple):
    """A linear map of a layer that has a LoRA."""

    name: str  # such as "q_proj"
    inputs: int
    outputs: int
    rank: int


def adapted_maps(
    model: nn.Module, lora: LoraSpec | None, family: Family, layers: int
) -> list[Adapted]:
    """The maps of one layer that a LoRA adapts.

    Args:
        model: The base; shapes are enough.
        lora: The LoRA, or None.
        family: Of the base.
        layers: Layers of its language model, all of which have one shape.
    """
    if lora is None:
        return []
    found = []
    for path, inputs, outputs in lora_shapes(model, lora, family):
        name = path.rpartition(".")[2]
        found.append(Adapted(name, inputs, outputs, lora.rank_of(path)))
    return found[: len(found) // layers]  # those of the first layer come first


@dataclass(frozen=True)
class Kept:
    """The pass of one clip through the language model.

    Attributes:
        text: Configuration of the language model.
        tokens: Length of the sequence, padding included.
        maps: Those of a layer that have a LoRA, once for each LoRA.
        precision: What it computes in.
        held: What the base's embeddings and norms are held in.
        dropout: Whether the LoRAs drop some of what they read.
        eager: Whether attention is "eager", which keeps its weights; a fused one does not.
        masked: Whether attention takes a mask: packed questions where FlexAttention does not run.
        lean: Whether gated MLPs train as on a CPU (`pave.cpu.lean`).
        checkpointing: Whether activations are recomputed.
    """

    text: Any
    tokens: int
    maps: Sequence[Adapted]
    precision: str
    held: str
    dropout: bool = False
    eager: bool = False
    masked: bool = False
    lean: bool = False
    checkpointing: bool = False

    def total(self) -> int:
        """Bytes at the most, at the start of the backward pass."""
        layers = int(self.text.num_hidden_layers)
        inside = self.layer() + self._moving()
        if self.checkpointing:
            # The input of every layer, and the inside of the one that is being recomputed.
            stream = BYTES[self.held] * int(self.text.hidden_size)
            return self.tokens * (layers * stream + inside)
        return self.tokens * ((layers - 1) * self.layer() + inside)

    def layer(self) -> int:
        """Bytes of a layer, a token."""
        norms = 2 * FP32 * int(self.text.hidden_size)
        return norms + self.attention() + self.gate() + self.adapters()

    def attention(self) -> int:
        """Bytes of a layer's attention, a token."""
        width = self._heads() * self._head_dim()
        found = 3 * self._number * width
        if self.eager:
            weights = FP32  # the softmax is in fp32
            if self.precision == "bf16":
                weights += self._number  # and rounded for the product with the values
            return found + weights * self._heads() * self.tokens
        if not self._output_is_read():
            found += self._number * width
        if self.masked:
            found += self._number * self.tokens
        return found

    def gate(self) -> int:
        """Bytes of a layer's gated MLP, a token."""
        vectors = 2  # gate and up
        if not self.lean:
            vectors += 1  # the gate after its activation
        return vectors * self._number * int(self.text.intermediate_size)

    def adapters(self) -> int:
        """Bytes of a layer's LoRAs, a token."""
        ranks = sum(each.rank for each in self.maps)
        found = self._number * ranks
        if self.dropout:
            for each in self.maps:
                # Factors are made in the type of the LoRA's weights; autocast rounds what is left.
                found += (FP32 + self._number) * each.inputs
            return found
        for width in self._read():
            found += self._number * width
        return found

    def _read(self) -> list[int]:
        """Widths of what the LoRAs read, without dropout."""
        if self.precision == "bf16":  # autocast rounds it for each of them
            return [each.inputs for each in self.maps]
        shared: dict[str, int] = {}
        for each in self.maps:
            source = _SOURCES.get(each.name, each.name)
            shared[source] = each.inputs
        return list(shared.values())

    def _output_is_read(self) -> bool:
        """Whether what attention gives is the very tensor that a LoRA keeps."""
        if self.dropout or self.precision == "bf16":
            return False
        return any(each.name == "o_proj" for each in self.maps)

    def _moving(self) -> int:
        """Bytes of the gradient that is on its way through an MLP, a token."""
        return self._number * int(self.text.intermediate_size)

    @property
    def _number(self) -> int:
        return BYTES[self.precision]

    def _heads(self) -> int:
        return int(self.text.num_attention_heads)

    def _head_dim(self) -> int:
        # Some models widen the heads beyond hidden_size / heads.
        own = getattr(self.text, "head_dim", None)
        return int(own or self.text.hidden_size // self._heads())


_SOURCES = {
    "q_proj": "attention",
    "k_proj": "attention",
    "v_proj": "attention",
    "gate_proj": "mlp",
    "up_proj": "mlp",
}
"""Maps that read one and the same tensor."""
