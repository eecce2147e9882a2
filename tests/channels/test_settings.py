"""Settings of all encoders: impossible numbers are refused where they are set."""

from __future__ import annotations

import resource
import typing
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny
from helpers.clips import mux, numbered, tone
from pave.bases import tower_of
from pave.channels import make_encoder
from pave.channels.catalog import OWN
from pave.channels.registry import ENCODERS
from pave.errors import ChannelError

NEEDED: dict[str, dict[str, Any]] = {"features/file": {"dim": 6}}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Half a second of film with sound."""
    return mux(tmp_path / "a.mp4", numbered(12), sounds=[(0.0, tone(0.5))])


ENDLESS = [float("inf"), float("-inf"), float("nan"), 1e300, -1e300]
ABSURD = [10**9, 10**400, -1, 0, 1.5, "x", "9" * 5000, True, None, [], [10**9], {}]


def settings_of_all() -> list[tuple[str, str, str]]:
    """Every setting of pave's own encoders, found by walking them: a new one is tried, too."""
    found = []
    for key in sorted(OWN):
        channel, _, name = key.partition("/")
        fields = ENCODERS.get(key).settings.model_fields
        found += [(channel, name, field) for field in fields]
    return found


def takes_fractions(channel: str, name: str, field: str) -> bool:
    info = ENCODERS.get(f"{channel}/{name}").settings.model_fields[field]
    return float in (info.annotation, *typing.get_args(info.annotation))


def test_every_setting_is_bounded() -> None:
    """Any value is refused in a line, or makes an encoder that holds nothing large."""
    tower = tower_of(tiny.base())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
    for channel, name, field in settings_of_all():
        needed = NEEDED.get(f"{channel}/{name}", {})
        for value in ABSURD + ENDLESS:
            try:
                made = make_encoder(channel, name, {**needed, field: value}, tower=tower)
            except ChannelError as error:
                said = str(error)
                assert f"encoder {channel}/{name}: " in said and "\n" not in said
                assert len(said) < 500, (channel, name, field, value)
            else:
                # Infinity and NaN pass a plain `gt=0` (a slip such as `.inf`); nothing reads 1e300.
                assert value not in ENDLESS or not takes_fractions(channel, name, field)
                taken = made.settings.get(field)  # not there where it is off
                assert not isinstance(taken, int | float) or abs(taken) < 2**31
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


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


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        # 512,000 features every millisecond, of a file that a megabyte of fusion reads.
        ("audio/mel", {"n_mels": 512, "bins": 1000, "width": 1.0, "hop": 0.001, "step": 0.001}),
        ("frames/tower", {"side": 256}),
        ("views/tower", {"side": 256}),
    ],
)
def test_tokens_have_a_limit(
    clip: Path, monkeypatch: pytest.MonkeyPatch, key: str, settings: dict[str, Any]
) -> None:
    """Refused before they are made: the peak of memory stays where it was."""
    monkeypatch.setenv("PAVE_MAX_TOKEN_VALUES", str(1 << 22))
    channel, _, name = key.partition("/")
    encoder = make_encoder(channel, name, settings, tower=tower_of(tiny.base()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB
    with pytest.raises(ChannelError, match=r"steps of .* than the limit of 4,194,304; .*MAX_TOKEN"):
        encoder.encode(str(clip))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


@pytest.mark.parametrize(
    ("key", "field"), [("views/tower", "frames"), ("frames/languagebind", "min_frames")]
)
def test_frames_that_would_repeat_have_a_limit(key: str, field: str) -> None:
    channel, _, name = key.partition("/")
    with pytest.raises(ChannelError, match=f"{field}.*less than or equal to 4096"):
        make_encoder(channel, name, {field: 100_000}, tower=tower_of(tiny.base()))
