"""Settings of all encoders: impossible numbers are refused where they are set."""

from __future__ import annotations

import typing
from typing import Any

import pytest

from helpers import tiny
from pave.bases import tower_of
from pave.channels import make_encoder
from pave.channels.catalog import OWN
from pave.channels.registry import ENCODERS
from pave.errors import ChannelError

NEEDED: dict[str, dict[str, Any]] = {"features/file": {"dim": 6}}


def floats() -> list[tuple[str, str, str]]:
    """All settings of pave's own encoders that are numbers with a fraction."""
    found = []
    for key in sorted(OWN):
        channel, _, name = key.partition("/")
        for field, info in ENCODERS.get(key).settings.model_fields.items():
            if float in (info.annotation, *typing.get_args(info.annotation)):
                found.append((channel, name, field))
    return found


@pytest.mark.parametrize(("channel", "name", "field"), floats())
@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e300, -1e300])
def test_no_setting_is_endless(channel: str, name: str, field: str, value: float) -> None:
    """Infinity and NaN pass a plain `gt=0` (a slip such as `.inf`); nothing reads 1e300."""
    settings = {**NEEDED.get(f"{channel}/{name}", {}), field: value}
    with pytest.raises(ChannelError, match=rf"encoder {channel}/{name}: .*({field}|f_max)"):
        make_encoder(channel, name, settings, tower=tower_of(tiny.base()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 0}, "step"),
        ({"step": -0.2}, "step"),
        (
            {"hop": 1e-9},
            "hop = 1e-09 s must be a whole number of samples",
        ),
        ({"bins": 10**400}, "bins"),
        ({"f_min": 30.0, "f_max": 30.001}, "too fine"),
        ({"window": 10.0, "rate": 192000}, "too fine"),
        ({"f_max": 0.0}, "f_max"),
        ({"floor_db": -1e9}, "floor_db"),
        ({"floor_db": 1e5}, "floor_db"),
        ({"std_db": 1e-300}, "std_db"),
    ],
)
def test_mel(settings: dict[str, Any], message: str) -> None:
    """Nothing, less than nothing, and more than any memory holds."""
    with pytest.raises(ChannelError, match=f"encoder audio/mel: .*{message}"):
        make_encoder("audio", "mel", settings)


def test_the_finest_mel_that_anyone_wants() -> None:
    """The limit is far from useful settings."""
    make_encoder("audio", "mel", {"rate": 192000, "n_mels": 512})


@pytest.mark.parametrize(
    ("channel", "name"),
    [("audio", "imagebind"), ("frames", "languagebind"), ("scene3d", "llava3d")],
)
def test_heads_that_do_not_divide(channel: str, name: str) -> None:
    """The checkpoint does not tell their number, so a wrong one is the user's to mend."""
    from pathlib import Path

    weights = Path(__file__).parents[1] / "data" / "encoders" / f"{name}.safetensors"
    encoder = make_encoder(channel, name, {"weights": str(weights), "heads": 7})
    with pytest.raises(
        ChannelError, match=rf"{name}.safetensors: \d+ features .* 7 heads; set `heads`"
    ):
        _ = encoder.dim


def test_places_of_a_scene() -> None:
    """A view has at least one row."""
    with pytest.raises(ChannelError, match="vhw"):
        make_encoder("scene3d", "official", {"vhw": (-32, -24, 24)})
