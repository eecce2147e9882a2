"""A Ray cluster of two nodes on this machine, one of which is killed: nothing lost or twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers import tinyrun
from pave.cache import TokenCache
from pave.data import Record, Turn, write_records
from pave.evaluate import EvalConfig, evaluate
from pave.evaluate.cluster import evaluate_on_ray
from pave.extract import ExtractConfig, extract
from pave.extract.cluster import extract_on_ray

CLIPS = 400
NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster with one node of two CPUs."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        # Ray's workers give way to all others by default, and get nowhere on a busy machine.
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        ray.init(address=made.address, log_to_driver=False)
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


@pytest.fixture
def cluster(nodes: Any) -> Any:
    """The same with a second node, which a test may kill."""
    nodes.second = nodes.add_node(**NODE)
    return nodes


def killed_when(cluster: Any, due: Any) -> threading.Thread:
    """A thread that kills the second node as soon as something is the case."""

    def wait() -> None:
        until = time.monotonic() + 200
        while not due() and time.monotonic() < until:
            time.sleep(0.02)
        cluster.remove_node(cluster.second, allow_graceful=False)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def entries(cache: Path) -> dict[str, bytes]:
    """Every tensor file of a cache."""
    files = cache.rglob("*.safetensors")
    return {str(file.relative_to(cache)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_extraction_on_two_nodes_of_which_one_is_killed(tmp_path: Path, cluster: Any) -> None:
    made = []
    for number in range(CLIPS):
        np.save(tmp_path / f"{number}.npy", np.full((200, 1, 64), number, np.float32))
        channels = {"features": f"{number}.npy"}
        turns = [Turn(question="?")]
        made.append(Record(id=str(number), video="v", channels=channels, turns=turns))
    records = write_records(tmp_path / "records.jsonl", made)
    settings: dict[str, Any] = {"channel": "features", "encoder": "file"}
    settings |= {"encoder_settings": {"dim": 64}, "records": records}
    plain = ExtractConfig(cache=tmp_path / "plain", workers=0, **settings)
    assert extract(plain).made == CLIPS
    cache = tmp_path / "tokens"
    killer = killed_when(cluster, lambda: len(list(cache.rglob("*.safetensors"))) > CLIPS // 10)
    report = extract_on_ray(ExtractConfig(cache=cache, workers=3, **settings))
    killer.join()
    # What was encoded on the lost node and not told is found when its unit is handed out again.
    assert report.made + report.found == report.clips == CLIPS and not report.skipped
    assert entries(cache) == entries(tmp_path / "plain")
    assert len(TokenCache(cache).keys()) == CLIPS


@pytest.mark.slow
def test_evaluation_on_two_nodes_of_which_one_is_killed(tmp_path: Path, cluster: Any) -> None:
    made = tinyrun.make(tmp_path, clips=6)
    arms = {"base": None, "sound": [made.patch]}
    common: dict[str, Any] = {"records": made.records, "base": str(made.base), "arms": arms}
    common |= {"frames": 4, "max_new_tokens": 4, "plot": False, "batch": 3}
    common |= {"cache": tmp_path / "tokens", "device": "cpu", "resamples": 100}
    one = evaluate(EvalConfig(out=tmp_path / "one", workers=0, **common))
    out = tmp_path / "two"
    killer = killed_when(cluster, lambda: any(f.stat().st_size for f in out.glob("*.part-*")))
    two = evaluate_on_ray(EvalConfig(out=out, workers=4, **common))
    killer.join()
    assert two.arms == one.arms
    for arm in arms:
        rows = (out / f"{arm}.jsonl").read_text()
        assert rows == (tmp_path / "one" / f"{arm}.jsonl").read_text()
        ids = [json.loads(row)["id"] for row in rows.splitlines()]
        assert len(ids) == len(set(ids)) == 18
