"""Clips that end the process that reads them, while tokens are precomputed: named, and alone."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path

import pytest

from helpers import killer, tiny, toy
from pave.cache import TokenCache
from pave.channels import make_encoder
from pave.data import Features, Record, reading
from pave.errors import RecordError


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with an encoder, and a reader of frames, that end their process at some clips."""
    monkeypatch.setattr(reading, "_read", reading._read)  # which the package replaces
    monkeypatch.syspath_prepend(killer.install(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, killer.MODULE, raising=False)
    importlib.import_module(killer.MODULE)


def test_deadly_clips_are_named_and_the_others_kept(tmp_path: Path, deadly: None) -> None:
    """One dies in the decoder of its video, one in a package's encoder."""
    rows = toy.records(tmp_path, clips=2, questions=1)
    records: list[Record] = []
    for number, name in enumerate(("good", "deadly", "fine")):
        media = tmp_path / f"{name}.npy"
        media.write_text(name)
        records.append(
            rows[0].model_copy(
                update={"id": f"channel-{number}", "channels": {"killer": str(media)}}
            )
        )
    film = toy.frames(tmp_path / "deadly", seed=9)
    records.append(rows[1].model_copy(update={"id": "film", "video": str(film), "channels": {}}))
    encoders = {"killer": make_encoder("killer", "test")}
    features = Features(tiny.base(), encoders, TokenCache(tmp_path / "tokens"), frames=4)
    with pytest.raises(RecordError) as told:
        features.precompute(records)
    assert str(told.value) == (
        f"2 of 4 clips cannot be used: channel-1: {tmp_path / 'deadly.npy'}: "
        f"{killer.died('SIGSEGV')}; film: {film}: {killer.died('SIGKILL')}; repair them or "
        "remove their records (the tokens of the others are kept)"
    )
    assert features.precompute([records[0], records[2]]).reused == 2
    where = {features[record].channels["killer"].values.unique().item() for record in records[::2]}
    assert len(where) == 2  # the second one was made by the worker that came after


def test_an_encoder_that_only_we_know_reads_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from pave.channels.features import FeaturesEncoder

    class Ours(FeaturesEncoder):
        """Another class under a registered name, which a worker would make otherwise."""

    records = toy.records(tmp_path, clips=1)
    plain = make_encoder("features", "file", {"dim": toy.DIM, "rate": 2.0})
    encoders = {"features": Ours(plain._set)}  # type: ignore[attr-defined]
    features = Features(tiny.base(), encoders, TokenCache(tmp_path / "tokens"), frames=4)
    with caplog.at_level(logging.WARNING):
        assert features.precompute(records).computed == 1
    assert "features/file is registered in this process only" in caplog.text
