"""`speed_up`: what pays on this processor, put on a module's layers one by one."""

from __future__ import annotations

import torch
from torch import nn

from pave import hf_compat
from pave.cpu.attention import in_plain_products
from pave.cpu.linear import through_onednn
from pave.cpu.norm import in_place
from pave.fusion.module import Attention, Fusion


def speed_up(module: nn.Module) -> None:
    """Make a module, usually a fusion, faster on a CPU; where nothing pays it is left as it is.

    Parameters, names and gradients stay as they are, and so does what runs on another device.
    Call it again after a cast to bfloat16.

    Example:
        >>> from torch import nn
        >>> speed_up(nn.Linear(4, 3))
    """
    float32_pays = hf_compat.mkl_leaves_avx512_alone()
    bf16_pays = hf_compat.has_bf16_units()
    for layer in module.modules():
        if type(layer) is nn.Linear and float32_pays:  # a subclass may compute something else
            through_onednn(layer)
        elif type(layer) is Attention and bf16_pays and layer.query.weight.dtype == torch.bfloat16:
            in_plain_products(layer)
        elif type(layer) is Fusion and layer.norm is not None:
            in_place(layer.norm)  # nobody else reads what comes out of the output maps
