"""Encoders that read with the base's tower: extracted beforehand, found by training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import tiny
from helpers.clips import mux, numbered
from pave.bases import InputSpec, tower_of
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, Turn, read_records, write_records
from pave.errors import ConfigError
from pave.extract import ExtractConfig, extract, work

ROOM = {
    "depth": np.full((3, 64, 64), 2.0),
    "pose": np.stack([np.eye(4)] * 3),
    "intrinsic": np.diag([40.0, 40.0, 1.0]),
}
SETTINGS = {"views": {"frames": 2}, "frames": {"fps": 4.0}, "scene3d": {}}
ENCODERS = {"views": "tower", "frames": "tower", "scene3d": "tower3d"}
FED = InputSpec(newline="grid", resize="pillow", frames=4)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    """Two clips with every channel that the tower reads."""
    made = []
    for clip in range(2):
        film, other = (
            str(mux(tmp_path / f"{name}{clip}.mp4", numbered(9, start=clip)))
            for name in ("main", "other")
        )
        np.savez(tmp_path / f"{clip}.npz", color=np.stack(numbered(3, start=clip)), **ROOM)
        channels = {
            "views": [film, other],
            "frames": film,
            "scene3d": {"arrays": str(tmp_path / f"{clip}.npz")},
        }
        made.append(Record(id=str(clip), video=film, channels=channels, turns=[Turn(question="?")]))
    return write_records(tmp_path / "records.jsonl", made)


@pytest.mark.parametrize("channel", sorted(ENCODERS))
@pytest.mark.parametrize("inputs", [InputSpec(), FED], ids=["native", "authors"])
def test_training_finds_tokens_of_the_tower(
    records: Path, tmp_path: Path, channel: str, inputs: InputSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, store = tiny.base(), tmp_path / "store"
    settings = {
        "channel": channel,
        "encoder": ENCODERS[channel],
        "encoder_settings": SETTINGS[channel],
    }
    wanted = ExtractConfig(
        records=records,
        cache=store,
        visual=True,
        base="tiny",
        inputs=inputs,
        cache_dtype="exact",
        **settings,
    )
    report = extract(wanted, base=base)
    assert (report.made, report.found, report.skipped) == (4, 0, []) and base.inputs.native
    base.use(inputs)
    own = make_encoder(channel, ENCODERS[channel], SETTINGS[channel], tower=tower_of(base))
    first, *_ = rows = read_records(records)
    alone = own.encode(first.channels[channel])
    monkeypatch.setattr(base, "visual", lambda *_: pytest.fail("the tower ran again"))
    features = Features(base, {"patch": own}, TokenCache(store))
    assert features.precompute(rows).computed == 0
    assert alone is not None and torch.equal(features[first].channels["patch"].values, alone.values)


def test_another_filter_gives_other_tokens(records: Path, tmp_path: Path) -> None:
    base, settings = tiny.base(), {"channel": "frames", "encoder": "tower", "base": "tiny"}
    for inputs in (InputSpec(), FED):
        assert (
            extract(
                ExtractConfig(records=records, cache=tmp_path / "s", inputs=inputs, **settings),
                base=base,
            ).made
            == 2
        )
    words = FED.model_copy(
        update={"newline": "frame", "frames": None}
    )  # tokens of the tower know nothing of newlines
    assert (
        extract(
            ExtractConfig(records=records, cache=tmp_path / "s", inputs=words, **settings),
            base=base,
        ).found
        == 2
    )


def test_a_base_is_loaded_where_it_is_needed(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "load_base", lambda *_: pytest.fail("loaded"))
    mel = ExtractConfig(
        records=records, cache=tmp_path / "s", channel="audio", encoder="mel", base="tiny"
    )
    assert extract(mel).without == 2
    with pytest.raises(ConfigError, match="views/tower uses the base's vision tower; set base"):
        extract(
            ExtractConfig(records=records, cache=tmp_path / "s", channel="views", encoder="tower")
        )
