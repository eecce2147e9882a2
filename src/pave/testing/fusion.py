"""`check_fusion`: what pave promises of its own fusion, asked of any other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pave.fusion import FusionSettings, make_fusion


def check_fusion(config: FusionSettings, seed: int = 0) -> None:
    """Hold a fusion to the promises that the rest of pave relies on.

    Shapes of a ragged batch; the batch equals its clips one by one; exact zeros without side
    tokens; a fresh fusion changes nothing; gradients reach every trainable parameter; float32 under
    autocast; weights that are saved and loaded give the same residuals.

    Args:
        config: Settings of a fusion that is registered.
        seed: Of its random weights and inputs.

    Raises:
        AssertionError: Saying which promise is broken.
    """
    torch.manual_seed(seed)
    fusion: Any = make_fusion(config)
    query = [torch.randn(t, 4, config.query_dim) for t in (3, 5)]
    side = [torch.randn(t, 1, config.side_dim) for t in (7, 4)]
    times = [torch.arange(t) / t for t in (3, 5)], [torch.arange(t) / t for t in (7, 4)]
    fresh: list[Tensor] = fusion(query, side, *times)
    for residual, tokens in zip(fresh, query, strict=True):
        wanted = (*tokens.shape[:2], config.out_dim)
        assert tuple(residual.shape) == wanted, (
            f"a residual is {tuple(residual.shape)}, not {wanted}"
        )
        assert not residual.any(), "a fresh fusion must give exact zeros; start its last map at 0"
    with torch.no_grad():
        for parameter in fusion.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    fusion.eval()
    whole = fusion(query, side, *times)
    for i in range(2):
        moments = times[0][i : i + 1], times[1][i : i + 1]
        alone = fusion(query[i : i + 1], side[i : i + 1], *moments)[0]
        close = torch.allclose(alone, whole[i], rtol=1e-4, atol=1e-5)
        assert close, "a clip's residual depends on the clips beside it"
    sum(residual.square().sum() for residual in whole).backward()
    for name, parameter in fusion.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, f"no gradient reaches {name}; freeze it or use it"
    mixed = fusion(query, [None, side[1]], times[0], [None, times[1][1]])
    assert not mixed[0].any(), "without side tokens the residual must be exactly zero"
    with torch.autocast("cpu", torch.bfloat16):
        cast = fusion(query, side, *times)
    for one, other in zip(cast, whole, strict=True):
        assert torch.equal(one, other), "under autocast the fusion must compute in its own dtype"
    loaded: Any = make_fusion(config)
    loaded.load_state_dict(fusion.state_dict())
    for one, other in zip(loaded.eval()(query, side, *times), whole, strict=True):
        assert torch.equal(one, other), "saved and loaded weights give other residuals"
