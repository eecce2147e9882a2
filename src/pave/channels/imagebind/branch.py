"""ImageBind's sound branch as a torch module whose tensors have the names of `imagebind_huge.pth`.

Own code after the formulas of facebookresearch/ImageBind (`imagebind_model.py`,
`multimodal_preprocessors.py`, `transformer.py`); only what sound needs. The weights are
CC-BY-NC-SA-4.0: not for commercial use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pave.channels.weights import load_strictly, must_have_blocks
from pave.errors import ChannelError

_RELEASED = {768: 12}  # width -> blocks


class _PositionTable(nn.Module):
    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, dim))


class _Patches(nn.Module):
    """16 x 16 patches at stride 10 and their norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, 16, stride=10, bias=False)
        self.norm_layer = nn.LayerNorm(dim)  # eps 1e-5 here, 1e-6 in all others


class _Stem(nn.Module):
    """Mel picture -> tokens row by row (a row is a range of frequencies), class token first."""

    def __init__(self, dim: int, tokens: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.rgbt_stem = _Patches(dim)
        self.pos_embedding_helper = _PositionTable(tokens, dim)

    def forward(self, mel: Tensor) -> Tensor:
        picture = self.rgbt_stem.proj(mel)  # [n, dim, 12, 19] for 128 x 204
        patches = self.rgbt_stem.norm_layer(picture.flatten(2).transpose(1, 2))  # [n, 228, dim]
        cls = self.cls_token.expand(len(mel), -1, -1)  # [n, 1, dim]
        tokens = torch.cat([cls, patches], 1)  # [n, 229, dim]
        return tokens + self.pos_embedding_helper.pos_embed


class _Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return found


class _Block(nn.Module):
    """Pre-norm attention with a learned extra key and value, and an MLP."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, add_bias_kv=True, batch_first=True)
        self.norm_1 = nn.LayerNorm(dim, eps=1e-6)
        self.norm_2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = _Mlp(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_1(x)  # [n, tokens, dim]
        mixed, _ = self.attn(y, y, y, need_weights=False)
        x = x + mixed
        found: Tensor = x + self.mlp(self.norm_2(x))
        return found


class _Trunk(nn.Module):
    def __init__(self, blocks: list[_Block]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*blocks)


class _First(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]  # [n, tokens, dim] -> [n, dim]


class _Scale(nn.Module):
    """Times exp(log scale), at most 100; 20 in the released weights."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("log_logit_scale", torch.tensor(math.log(20.0)))

    def forward(self, x: Tensor) -> Tensor:
        log_scale: Tensor = self.get_buffer("log_logit_scale")
        scale = log_scale.exp().clamp(max=100)
        return scale * F.normalize(x, dim=-1)


class SoundBranch(nn.Module):
    """Mel pictures `[n, 1, 128, 204]` -> embeddings `[n, out]` of L2 norm 20.

    Args:
        dim: Width of the trunk.
        blocks: Number of blocks.
        heads: Attention heads of a block.
        out: Width of the embedding.
        hidden: Width inside the MLPs.
        tokens: Patches plus the class token.
    """

    def __init__(
        self, *, dim: int, blocks: int, heads: int, out: int, hidden: int, tokens: int
    ) -> None:
        super().__init__()
        norm = nn.LayerNorm(dim, eps=1e-6)
        head = nn.Sequential(norm, _First(), nn.Linear(dim, out, bias=False))
        trunk = _Trunk([_Block(dim, heads, hidden) for _ in range(blocks)])
        # The dictionaries, of one modality here, make the checkpoint's names.
        self.modality_preprocessors = nn.ModuleDict({"audio": _Stem(dim, tokens)})
        self.modality_trunks = nn.ModuleDict({"audio": trunk})
        self.modality_heads = nn.ModuleDict({"audio": head})
        # The identity stands where the original normalises, which `_Scale` does here.
        post = nn.Sequential(nn.Identity(), _Scale())
        self.modality_postprocessors = nn.ModuleDict({"audio": post})
        self.out = out

    def forward(self, mel: Tensor) -> Tensor:
        """Embed mel pictures."""
        trunk = self.modality_trunks["audio"]
        assert isinstance(trunk, _Trunk)
        tokens = trunk.blocks(self.modality_preprocessors["audio"](mel))  # [n, 229, dim]
        embedding = self.modality_heads["audio"](tokens)  # [n, out]
        found: Tensor = self.modality_postprocessors["audio"](embedding)
        return found


def build_branch(tensors: Mapping[str, Tensor], heads: int, where: str) -> SoundBranch:
    """The sound branch that a checkpoint holds; its sizes are read from the tensors.

    Args:
        tensors: The checkpoint.
        heads: Attention heads, which no tensor tells; 12 in `imagebind_huge`.
        where: The file, for messages.

    Raises:
        ChannelError: If a tensor of the sound branch is missing, unexpected or of the wrong shape.
    """
    # The checkpoint holds the branches of five other modalities as well.
    own = {key: value for key, value in tensors.items() if ".audio." in key}
    blocks = {key.split(".")[3] for key in own if key.startswith("modality_trunks.audio.blocks.")}

    def size(name: str, axis: int, otherwise: int) -> int:
        # Without the tensor any size will do: `load_strictly` then says that it is missing.
        if name in own and own[name].dim() > axis:
            return own[name].shape[axis]
        return otherwise

    dim = size("modality_preprocessors.audio.cls_token", 2, 768)
    if dim % heads:
        raise ChannelError(
            f"{where}: {dim} features cannot be split among {heads} heads; set `heads` to the "
            "number of the model"
        )
    must_have_blocks(len(blocks), dim, _RELEASED, where)
    branch = SoundBranch(
        dim=dim,
        blocks=len(blocks),
        heads=heads,
        out=size("modality_heads.audio.2.weight", 0, 1024),
        hidden=size("modality_trunks.audio.blocks.0.mlp.fc1.weight", 0, 3072),
        tokens=size("modality_preprocessors.audio.pos_embedding_helper.pos_embed", 1, 229),
    )
    load_strictly(branch, own, where)
    return branch
