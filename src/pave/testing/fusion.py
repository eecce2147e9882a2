"""`check_fusion`: what pave promises of its own fusion, asked of any other."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pave.fusion import FusionSettings, make_fusion
from pave.fusion_costs import fusion_parameters


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
    clips = _random_clips(config)
    _check_fresh(fusion, config, clips)
    with torch.no_grad():
        for parameter in fusion.parameters():
            noise = torch.randn_like(parameter)  # zeros would hide whatever stands before them
            parameter.add_(noise * 0.1)
    # Dropout would make every comparison below fail by chance.
    fusion.eval()
    whole = fusion(*clips)  # two of [T, S, D]
    _check_alone(fusion, clips, whole)
    _check_gradients(fusion, whole)
    _check_without_side(fusion, clips)
    # A base may run in bf16; its patch's weights stay float32, and so must what is done with them.
    with torch.autocast("cpu", torch.bfloat16):
        cast = fusion(*clips)
    _must_equal(cast, whole, "under autocast the fusion must compute in its own dtype")
    loaded: Any = make_fusion(config)
    saved = fusion.state_dict()  # as a patch folder keeps it
    loaded.load_state_dict(saved)
    loaded.eval()
    again = loaded(*clips)
    _must_equal(again, whole, "saved and loaded weights give other residuals")


class _Clips(NamedTuple):
    """Arguments of a fusion, one entry a clip."""

    query: list[Tensor]
    side: list[Tensor]
    query_times: list[Tensor]
    side_times: list[Tensor]


def _random_clips(config: FusionSettings) -> _Clips:
    """Two clips that share no length, so that padding one of them is needed on either side."""
    clips = _Clips([], [], [], [])
    for steps in (3, 5):
        tokens = torch.randn(steps, 4, config.query_dim)  # [T, S, C_q]
        clips.query.append(tokens)
        clips.query_times.append(_times(steps))
    for steps in (7, 4):
        tokens = torch.randn(steps, 1, config.side_dim)  # [T_side, 1, C]
        clips.side.append(tokens)
        clips.side_times.append(_times(steps))
    return clips


def _times(steps: int) -> Tensor:
    """Every clip lasts a second, whatever its number of steps."""
    return torch.arange(steps) / steps  # [T], seconds


def _check_fresh(fusion: Any, config: FusionSettings, clips: _Clips) -> None:
    """Shapes, exact zeros, and the count that estimates of cost rely on."""
    fresh: list[Tensor] = fusion(*clips)
    for residual, tokens in zip(fresh, clips.query, strict=True):
        found = tuple(residual.shape)
        wanted = (*tokens.shape[:2], config.out_dim)  # [T, S, D]
        assert found == wanted, f"a residual has {found} instead of {wanted}"
        # Else the first step of training starts from a base that is already damaged.
        assert not residual.any(), "a fresh fusion must give exact zeros; start its last map at 0"
    said = fusion_parameters(config)  # made on the meta device, as estimates of cost do
    counted = sum(parameter.numel() for parameter in fusion.parameters())
    assert counted == said, f"made without weights it has {said} parameters, not {counted}"


def _check_alone(fusion: Any, clips: _Clips, whole: list[Tensor]) -> None:
    """Each clip by itself; sums may be taken in another order then, so nearly equal is enough."""
    for number, together in enumerate(whole):
        single = slice(number, number + 1)
        arguments = [argument[single] for argument in clips]
        (alone,) = fusion(*arguments)  # [T, S, D]
        close = torch.allclose(alone, together, rtol=1e-4, atol=1e-5)
        assert close, "a clip's residual depends on the clips beside it"


def _check_gradients(fusion: Any, whole: list[Tensor]) -> None:
    """A parameter that no gradient reaches is saved and counted, and stops runs on several GPUs."""
    loss = torch.zeros(())  # any loss that depends on every residual
    for residual in whole:
        loss = loss + residual.square().sum()
    loss.backward()
    for name, parameter in fusion.named_parameters():
        if parameter.requires_grad:
            reached = parameter.grad is not None
            assert reached, f"no gradient reaches {name}; freeze it or use it"


def _check_without_side(fusion: Any, clips: _Clips) -> None:
    """A clip that lacks the channel, beside one that has it."""
    side = [None, clips.side[1]]  # the second clip keeps its tokens
    side_times = [None, clips.side_times[1]]
    lacking, _ = fusion(clips.query, side, clips.query_times, side_times)
    assert not lacking.any(), "without side tokens the residual must be exactly zero"


def _must_equal(found: list[Tensor], wanted: list[Tensor], otherwise: str) -> None:
    """The same residuals, bit for bit."""
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other), otherwise
