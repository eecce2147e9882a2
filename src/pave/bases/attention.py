"""Whether an attention can run here, told in a line before any weight is read.

transformers looks at it late, and where FlashAttention is not installed but `kernels` is, it
fetches compiled code from the Hub in its place. Pave runs what is installed, or says what is not.
"""

from __future__ import annotations

import torch

from pave.errors import ConfigError

_FLASH = "flash_attention_"
_HALF = (torch.float16, torch.bfloat16)


def must_attend(
    word: str | None, dtype: torch.dtype | None, device: torch.device | None = None
) -> None:
    """Make sure that a base can attend so.

    Args:
        word: The attention; None is the model's own.
        dtype: The type of the base; None where its files do not say.
        device: Where it will run; None for where it is loaded, the CPU.

    Raises:
        ConfigError: If FlashAttention lacks its package, its GPU or its 16 bits.
    """
    # All others are PyTorch's own and run wherever it does.
    if word is None or not word.startswith(_FLASH):
        return
    version = word.removeprefix(_FLASH)
    if device is None or device.type == "cpu":
        raise ConfigError(f"attention {word} runs only on a GPU; use sdpa on the CPU")
    if dtype not in _HALF:
        raise ConfigError(
            f"attention {word} computes in 16 bits, but the base is in "
            f"{str(dtype).removeprefix('torch.')}; load it in bf16 or fp16"
        )
    if not _is_installed(version):
        raise ConfigError(
            f"attention {word} needs the package of FlashAttention {version}, which is not "
            "installed here; install it for your GPU, or use sdpa"
        )


def _is_installed(version: str) -> bool:
    """Whether the package is there; code that transformers would fetch instead does not count."""
    from transformers import utils

    # Without `kernels_fallback_ok`: only the package itself counts.
    look = getattr(utils, f"is_flash_attn_{version}_available", None)
    return look is not None and bool(look())
