"""Fusions by name: pave's own, those of the program at hand, and those of installed packages.

`patch.json` names a fusion by the field `type` of its settings. An installed package announces its
own under the entry point group `pave.fusions`, pointing at the module that registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from pave.arguments import as_kind
from pave.errors import ConfigError
from pave.registry import Registry

if TYPE_CHECKING:
    from torch import nn

OURS = "cross_attention"
CONCAT = "concat"

# A width or a count; beyond this nothing fits into any memory.
Size = Annotated[int, Field(ge=1, le=2**20)]


class FusionSettings(BaseModel):
    """What the settings of any fusion have; one of your own says its name as default of `type`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    appends: ClassVar[bool] = False
    """Whether it makes tokens to stand behind the visual ones, instead of what is added to them."""

    type: str = Field(description="Name under which the fusion is registered.")
    side_dim: Size = Field(description="Width C of the side tokens of the encoder.")
    query_dim: Size = Field(description="Width C of the query tokens of the base.")
    out_dim: Size = Field(description="Width of the residual: the language model's hidden size.")
    query: Literal["pre_projector", "projected"] = Field(
        default="pre_projector", description="Which tokens of the base are used as the query."
    )

    @property
    def knows_places(self) -> bool:
        """Whether a query token's place in its frame matters, so that none may be left out."""
        return False


Made = TypeVar("Made", bound="Callable[[Any], nn.Module]")

FUSIONS: Registry[tuple[type[FusionSettings], Callable[[Any], nn.Module]]] = Registry(
    "fusion", "pave.fusions", {OURS: "pave.fusion", CONCAT: "pave.fusion"}, ConfigError
)


def register_fusion(name: str, config_class: type[FusionSettings]) -> Callable[[Made], Made]:
    """A decorator that makes a fusion class, called as `fusion_class(config)`, known by name.

    Args:
        name: What the field `type` of its settings says.
        config_class: The class of its settings.

    Raises:
        ConfigError: If the name belongs to another fusion.
    """

    def keep(fusion_class: Made) -> Made:
        FUSIONS.register(name, (config_class, fusion_class))
        return fusion_class

    return keep


def read_fusion_config(fields: Mapping[str, Any]) -> FusionSettings:
    """The settings that a mapping means, read by the class that its `type` names.

    Raises:
        ConfigError: If no fusion has that name, or two settings contradict each other.
        pydantic.ValidationError: If a field is unknown, missing or out of range.
    """
    if not isinstance(fields, Mapping):
        raise ConfigError(f"settings of a fusion are a mapping, got {type(fields).__name__}")
    config_class, _ = FUSIONS.get(str(fields.get("type", OURS)))
    return config_class.model_validate(dict(fields))


def make_fusion(config: FusionSettings) -> nn.Module:
    """A fresh fusion of the class that was registered for these settings.

    Raises:
        ConfigError: If none was.
    """
    as_kind(config, FusionSettings, "a fusion is made from its settings")
    _, fusion_class = FUSIONS.get(config.type)
    return fusion_class(config)
