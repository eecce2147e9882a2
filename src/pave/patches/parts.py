"""`Part`: one channel of a patch on a base, with its fusion and its encoder."""

from __future__ import annotations

from functools import cached_property

from torch import nn

from pave.channels import Encoder, describe_encoder
from pave.errors import PatchError
from pave.fusion import make_fusion
from pave.fusion.gate import QuestionGate
from pave.patches.config import ChannelSpec, PatchConfig


class Part:
    """One channel of a patch.

    Args:
        key: The name under which a call's tokens are looked for before the channel's: the patch's,
            and for one of several channels `<patch>.<channel>`.
        channel: The channel.
        spec: Its encoder and its fusion's settings.
        fusion: The fusion.

    Attributes:
        encoder: The channel's encoder, once `PatchedModel.encoder` has made it.
    """

    def __init__(self, key: str, channel: str, spec: ChannelSpec, fusion: nn.Module) -> None:
        self.key = key
        self.channel = channel
        self.spec = spec
        self.fusion = fusion
        self.encoder: Encoder | None = None

    @property
    def gate(self) -> QuestionGate | None:
        """What decides by the question whether the fusion is heard; None where it always is."""
        gate = getattr(self.fusion, "question_gate", None)  # fusions of other kinds have none
        return gate if isinstance(gate, QuestionGate) else None

    @cached_property
    def in_video(self) -> bool:
        """Whether the clip's own video file holds the channel, for its encoder to read."""
        encoder = self.encoder or self.spec.encoder  # named alike; none reads ready-made tokens
        name = None if encoder is None else encoder.name
        return describe_encoder(self.channel, name).reads == "video"


def fusion_of(config: PatchConfig) -> nn.Module | None:
    """A fresh fusion for a patch: for several channels a `ModuleDict` of them by channel.

    Raises:
        ConfigError: If no fusion of that type was registered.
        PatchError: If a channel's name cannot be that of a module.
    """
    if config.fusion is not None:
        return make_fusion(config.fusion)
    if not config.channels:
        return None
    fusions = nn.ModuleDict()
    for channel, spec in config.channels.items():
        if hasattr(fusions, channel):  # it would hide a method of the dict
            raise PatchError(f"{channel!r} cannot name one of several channels; choose another")
        fusions[channel] = make_fusion(spec.fusion)
    return fusions


def part_key(name: str, channel: str, channels: int) -> str:
    """The name of a patch's tokens: its own, and of several channels with the channel's.

    Args:
        name: The patch.
        channel: The channel.
        channels: How many the patch has.

    Example:
        >>> part_key("senses", "audio", 1), part_key("senses", "audio", 2)
        ('senses', 'senses.audio')
    """
    if channels == 1:
        return name
    # No patch is called so, since names hold no dot.
    return f"{name}.{channel}"


def parts_of(name: str, config: PatchConfig, fusion: nn.Module | None) -> dict[str, Part]:
    """The channels of a patch, by channel.

    Args:
        name: What the patch is called on its base.
        config: What it is.
        fusion: As `fusion_of` makes it.
    """
    parts = {}
    for channel, spec in config.parts.items():
        key, own = part_key(name, channel, len(config.parts)), fusion
        if config.channels and isinstance(fusion, nn.ModuleDict):
            own = fusion[channel]
        assert own is not None  # a channel has a fusion
        parts[channel] = Part(key, channel, spec, own)
    return parts
