"""The CLIP vision tower that LanguageBind and LLaVA-3D build on, under CLIP's own tensor names.

Own code, because LanguageBind's layers begin with an attention over time that no library's CLIP
has. Only the layers that are used run: both take the hidden states before the last layer, without
the final norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.channels.weights import load_strictly, must_have_blocks
from pave.errors import ChannelError

# Width -> layers of the towers that were released: ViT-B, L, H and bigG.
_RELEASED = {768: 12, 1024: 24, 1280: 32, 1664: 48}
# OpenAI's, of red, green and blue in the pictures that CLIP was trained on.
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class ClipShape:
    """Sizes of a tower; `frames` > 0 gives every layer an attention over that many frames."""

    dim: int
    hidden: int
    layers: int
    heads: int
    patch: int
    tokens: int
    quick_gelu: bool
    frames: int = 0


class _Attention(nn.Module):
    """Attention of tokens to each other; all its maps have biases."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Attend within `[n, tokens, dim]`."""
        q = self._split(self.q_proj(x))
        k = self._split(self.k_proj(x))
        v = self._split(self.v_proj(x))
        mixed = F.scaled_dot_product_attention(q, k, v)  # [n, heads, tokens, dim / heads]
        found: Tensor = self.out_proj(mixed.transpose(1, 2).flatten(2))
        return found

    def _split(self, x: Tensor) -> Tensor:
        """`[n, tokens, dim]` -> `[n, heads, tokens, dim / heads]`."""
        heads: Tensor = x.unflatten(2, (self.heads, -1)).transpose(1, 2)
        return heads


class _Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.fc1 = nn.Linear(shape.dim, shape.hidden)
        self.fc2 = nn.Linear(shape.hidden, shape.dim)
        self.quick = shape.quick_gelu

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)  # [n, tokens, hidden]
        # OpenAI trained with an approximation of the GELU of their own.
        x = x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x)
        found: Tensor = self.fc2(x)
        return found


class _Layer(nn.Module):
    """Attention and an MLP, each behind a norm; LanguageBind attends over time before them."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.self_attn = _Attention(shape.dim, shape.heads)
        self.layer_norm1 = nn.LayerNorm(shape.dim)
        self.layer_norm2 = nn.LayerNorm(shape.dim)
        self.mlp = _Mlp(shape)
        self.frames = shape.frames
        if shape.frames:
            self.temporal_embedding = nn.Parameter(torch.zeros(1, shape.frames, shape.dim))
            self.temporal_attn = _Attention(shape.dim, shape.heads)
            self.temporal_layer_norm1 = nn.LayerNorm(shape.dim)

    def forward(self, x: Tensor) -> Tensor:
        """`[n, tokens, dim]`, n a multiple of `frames`."""
        if self.frames:
            x = self._over_time(x)
        x = x + self.self_attn(self.layer_norm1(x))
        found: Tensor = x + self.mlp(self.layer_norm2(x))
        return found

    def _over_time(self, x: Tensor) -> Tensor:
        """Each token attends itself in the other frames of its group; no mask, no MLP."""
        tokens = x.shape[1]
        groups = x.unflatten(0, (-1, self.frames))  # [groups, frames, tokens, dim]
        u = groups.transpose(1, 2).flatten(0, 1)  # [groups * tokens, frames, dim]
        # The embedding stays in the residual stream, and every layer adds its own: LanguageBind's.
        u = u + self.temporal_embedding
        u = u + self.temporal_attn(self.temporal_layer_norm1(u))
        found: Tensor = u.unflatten(0, (-1, tokens)).transpose(1, 2).flatten(0, 1)
        return found


class _Embeddings(nn.Module):
    """Pixels `[n, 3, side, side]` -> tokens `[n, 1 + patches, dim]`, the class token first."""

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(shape.dim))
        self.patch_embedding = nn.Conv2d(3, shape.dim, shape.patch, stride=shape.patch, bias=False)
        self.position_embedding = nn.Embedding(shape.tokens, shape.dim)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)  # [n, patches, dim]
        cls = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([cls, patches], 1) + self.position_embedding.weight


class _Encoder(nn.Module):
    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(shape) for _ in range(shape.layers))


class ClipTower(nn.Module):
    """Pixels `[n, 3, H, W]` -> hidden states before the last layer, `[n, 1 + patches, dim]`.

    The class token comes first.
    """

    def __init__(self, shape: ClipShape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = _Embeddings(shape)
        self.pre_layrnorm = nn.LayerNorm(shape.dim)  # CLIP's own spelling
        self.encoder = _Encoder(shape)
        self.post_layernorm = nn.LayerNorm(shape.dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode normalised frames."""
        x: Tensor = self.pre_layrnorm(self.embeddings(pixels))
        # The last layer is loaded, so that the check of names is strict, and never run.
        for layer in list(self.encoder.layers)[:-1]:
            x = layer(x)
        return x


def build_clip(
    tensors: Mapping[str, Tensor], heads: int, quick_gelu: bool, where: str
) -> ClipTower:
    """The tower that a checkpoint holds; its sizes are read from the tensors.

    Args:
        tensors: Names as in CLIP's vision model, without a prefix.
        heads: Attention heads, which no tensor tells; 16 in CLIP-L.
        quick_gelu: CLIP's own activation (OpenAI's weights) instead of the exact GELU
            (LanguageBind's).
        where: The file, for messages.

    Raises:
        ChannelError: If a tensor is missing, unexpected or of the wrong shape.
    """
    # Written by older versions of transformers: a buffer that counts 0, 1, 2, ...
    own = {key: value for key, value in tensors.items() if key != "embeddings.position_ids"}
    # Stands for a tensor that is missing; `load_strictly` then says which one.
    nothing = torch.zeros(1, 1, 1, 1)
    patch = own.get("embeddings.patch_embedding.weight", nothing)  # [dim, 3, patch, patch]
    layers = {key.split(".")[2] for key in own if key.startswith("encoder.layers.")}
    time = own.get("encoder.layers.0.temporal_embedding")  # [1, frames, dim]
    frames = 0
    if time is not None:
        frames = time.shape[1]
    shape = ClipShape(
        dim=len(patch),
        hidden=len(own.get("encoder.layers.0.mlp.fc1.weight", nothing)),
        layers=len(layers),
        heads=heads,
        patch=patch.shape[-1],
        tokens=len(own.get("embeddings.position_embedding.weight", nothing)),
        quick_gelu=quick_gelu,
        frames=frames,
    )
    if shape.dim % heads:
        raise ChannelError(
            f"{where}: {shape.dim} features cannot be split among {heads} heads; set `heads` to "
            "the number of the model"
        )
    must_have_blocks(shape.layers, shape.dim, _RELEASED, where)
    tower = ClipTower(shape)
    load_strictly(tower, own, where)
    return tower


def normalise(pixels: Tensor) -> Tensor:
    """0..255 RGB `[F, 3, H, W]` -> float32 with CLIP's mean and standard deviation."""
    mean = torch.tensor(MEAN)[:, None, None]  # [3, 1, 1]
    std = torch.tensor(STD)[:, None, None]
    return (pixels.to(torch.float32) / 255.0 - mean) / std
