"""The Ray adapter over a stand-in with Ray's own call signatures, for where Ray is missing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pave.cache import TokenCache
from pave.cli import main
from pave.data import Record, Turn, read_records, write_records
from pave.errors import ConfigError
from pave.extract import ExtractConfig, cluster


class _Rows:
    """`ray.data.Dataset`, as far as it is used: actors, and batches of columns of numpy."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def map_batches(
        self,
        fn: Any,
        *,
        fn_constructor_args: tuple[Any, ...],
        batch_size: int,
        compute: Any,
        num_cpus: float,
        num_gpus: float,
    ) -> _Rows:
        assert compute == ("pool", 2) and num_cpus == 0.5 and num_gpus == 0
        actors = [fn(*fn_constructor_args) for _ in range(compute[1])]
        made = []
        for start in range(0, len(self.rows), batch_size):
            rows = self.rows[start : start + batch_size]
            batch = {name: np.array([row[name] for row in rows]) for name in rows[0]}
            columns = actors[start % 2](batch)
            made += [
                dict(zip(columns, values, strict=True))
                for values in zip(*columns.values(), strict=True)
            ]
        return _Rows(made)

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    top, data = ModuleType("ray"), ModuleType("ray.data")
    state = {"up": False}
    top.is_initialized = lambda: state["up"]  # type: ignore[attr-defined]
    top.init = lambda **_: state.update(up=True)  # type: ignore[attr-defined]
    top.cluster_resources = lambda: {"CPU": 2.0}  # type: ignore[attr-defined]
    data.from_items = lambda rows, override_num_blocks: _Rows(rows)  # type: ignore[attr-defined]
    data.ActorPoolStrategy = lambda size: ("pool", size)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", top)
    monkeypatch.setitem(sys.modules, "ray.data", data)
    return top


def records(folder: Path, clips: int = 20) -> Path:
    made = []
    for number in range(clips):
        np.save(folder / f"{number}.npy", np.full((3, 1, 4), number, np.float32))
        made.append(
            Record(
                id=str(number),
                video="v",
                channels={"features": f"{number}.npy"},
                turns=[Turn(question="?")],
            )
        )
    (folder / "7.npy").write_bytes(b"broken")
    return write_records(folder / "records.jsonl", made)


def test_the_same_work_on_a_cluster(
    ray: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, seen = records(tmp_path), []
    settings = {
        "channel": "features",
        "encoder": "file",
        "encoder_settings": {"dim": 4},
        "workers": 2,
    }
    config = ExtractConfig(records=file, cache=tmp_path / "store", **settings)  # type: ignore[arg-type]
    report = cluster.extract_on_ray(config, watch=seen.append)
    assert (report.clips, report.made) == (20, 19)
    assert [row.id for row in report.skipped] == ["7"] and "7.npy" in report.skipped[0].reason
    assert [progress.done for progress in seen] == [8, 16, 20]
    assert (
        len(TokenCache(tmp_path / "store").keys())
        == 19
        == len(read_records(file, check_media=False)) - 1
    )
    wrong = config.model_copy(update={"encoder_settings": {"dim": 0}})
    with pytest.raises(ConfigError, match="features/file: setting 'dim'"):
        cluster.extract_on_ray(wrong)
    words = [
        "extract",
        str(file),
        "--store",
        str(tmp_path / "store"),
        "--channel",
        "features",
        "--encoder",
        "file",
    ]
    assert main([*words, "--encoder-settings.dim", "4", "--workers", "2", "--engine", "ray"]) == 0
    assert "found    19" in capsys.readouterr().out


def test_one_cpu_is_left_for_ray_itself(
    ray: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray waits for ever, without a word, when its actors take every CPU."""
    assert [
        cluster.cpus_per_worker(8, 7),
        cluster.cpus_per_worker(8, 8),
        cluster.cpus_per_worker(2, 4),
    ] == [1, 0.875, 0.25]
    with pytest.raises(ConfigError, match="needs 2 CPUs"):
        cluster.cpus_per_worker(1, 1)
    monkeypatch.setitem(sys.modules, "ray", None)
    config = ExtractConfig(
        records=records(tmp_path), cache=tmp_path / "s", channel="features", encoder="file"
    )
    with pytest.raises(ConfigError, match=r"needs Ray .* pip install 'video-pave\[ray\]'"):
        cluster.extract_on_ray(config)


@pytest.mark.slow
def test_ray_itself(tmp_path: Path) -> None:
    """The same on Ray's own engine, where it is installed."""
    ray = pytest.importorskip("ray")
    settings = {"channel": "features", "encoder": "file", "encoder_settings": {"dim": 4}}
    config = ExtractConfig(
        records=records(tmp_path), cache=tmp_path / "cache", workers=2, **settings
    )  # type: ignore[arg-type]
    try:
        report = cluster.extract_on_ray(config)
        again = cluster.extract_on_ray(config)
        with pytest.raises(ConfigError, match="features/file: setting 'dim'"):
            cluster.extract_on_ray(config.model_copy(update={"encoder_settings": {"dim": 0}}))
    finally:
        ray.shutdown()
    assert (report.made, [row.id for row in report.skipped]) == (19, ["7"])
    assert (again.made, again.found) == (0, 19)
    assert len(TokenCache(tmp_path / "cache").keys()) == 19
