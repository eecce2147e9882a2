"""Fusions by name: the default is not written, an unknown one is refused in words."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import nn

from pave import fusion_registry
from pave.errors import ConfigError
from pave.fusion import (
    Fusion,
    FusionConfig,
    FusionSettings,
    make_fusion,
    read_fusion_config,
    register_fusion,
)
from pave.fusion_costs import fusion_flops, fusion_parameters
from pave.testing import check_fusion

WIDTHS = {"side_dim": 8, "query_dim": 6, "out_dim": 10}


class Plain(FusionSettings):
    type: Literal["plain"] = "plain"


def test_the_default_type_is_neither_needed_nor_written():
    config = read_fusion_config(WIDTHS)
    assert config == FusionConfig(**WIDTHS) == read_fusion_config({**WIDTHS, "type": config.type})
    assert "type" not in config.model_dump() and "type" not in config.model_dump_json()
    assert isinstance(make_fusion(config), Fusion)


def test_a_registered_fusion_is_read_and_made():
    class Module(nn.Module):
        def __init__(self, config: Plain) -> None:
            super().__init__()
            self.config = config
            self.map = nn.Linear(config.side_dim, config.out_dim, bias=False)

    assert register_fusion("plain", Plain)(Module) is Module
    config = read_fusion_config({"type": "plain", **WIDTHS})
    assert config.model_dump()["type"] == "plain" and fusion_parameters(config) == 80
    assert fusion_flops(config, frames=4, query_tokens=9, side_steps=30) == 2 * 80 * 36
    assert isinstance(make_fusion(config), Module)
    assert fusion_registry.FUSIONS.names() == ["concat", "cross_attention", "plain"]


@pytest.mark.parametrize("name", ["cros_attention", 3])
def test_an_unknown_fusion_is_refused(name):
    with pytest.raises(ConfigError, match="cross_attention"):
        read_fusion_config({"type": name, **WIDTHS})


def test_a_name_belongs_to_one_fusion():
    register_fusion("plain", Plain)(nn.Identity)
    register_fusion("plain", Plain)(nn.Identity)  # a cell that is run again
    with pytest.raises(ConfigError, match="already registered"):
        register_fusion("plain", Plain)(nn.Dropout)


@pytest.mark.parametrize("options", [{}, {"alignment": "groups"}, {"rope": "3d", "layers": 1}])
def test_our_own_fusion_keeps_the_promises(options):
    check_fusion(FusionConfig(**WIDTHS, hidden=64, **options))
