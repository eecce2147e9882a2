"""Extraction on a Ray cluster: the same units through the same function, handed out by Ray Data instead of by leases.

Ray is an extra. Every node must see the records, the media and the store under the same paths; each
worker writes what it encodes straight into the store, so a lost node costs its units at hand, and a
second call goes on as always.

Ray waits silently for ever when its actors take every CPU, because reading the list of units then
finds none. So a worker is given less than a whole CPU where there are no more CPUs than workers.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from pave.cache import pack
from pave.errors import ConfigError
from pave.extract.config import ExtractConfig
from pave.extract.report import ExtractReport, Outcome, Progress, Skipped, Watch
from pave.extract.work import Job, encode_unit, open_store, plan

Batch = Mapping[str, Any]


def extract_on_ray(config: ExtractConfig, *, watch: Watch | None = None) -> ExtractReport:
    """As `pave.extract.extract`, with `config.workers` Ray actors.

    A running Ray is used if there is one (`RAY_ADDRESS`), else one is started on this machine.

    Args:
        config: What to encode, and where to.
        watch: Called with the progress after each unit.

    Raises:
        ConfigError: If Ray is not installed, or the cluster has too few CPUs.
        RecordError: If the records cannot be read.
    """
    ray, data = _ray()
    started = time.monotonic()
    units, without = plan(config)
    store = open_store(config)
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    # One unit a row and a row a batch: a unit is what may be lost. JSON, because Arrow columns do
    # not hold mixed sources.
    rows = [
        {"jobs": json.dumps([asdict(job) for job in unit.jobs], default=str), "clips": unit.clips}
        for unit in units
    ]
    outcomes: list[Outcome] = []
    done = encoded = 0
    clips = sum(unit.clips for unit in units)
    if rows:
        results = data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Encode,
            fn_constructor_args=(config.model_dump_json(),),
            batch_size=1,
            compute=data.ActorPoolStrategy(size=config.workers),
            num_cpus=cpus_per_worker(float(ray.cluster_resources().get("CPU", 0)), config.workers),
        )
        for row in results.iter_rows():
            new = [Outcome(**fields) for fields in json.loads(row["outcomes"])]
            outcomes += new
            done += int(row["clips"])
            encoded += int(row["clips"]) if any(outcome.status != "found" for outcome in new) else 0
            if watch:
                skipped = sum(outcome.status == "skipped" for outcome in outcomes)
                watch(Progress(done, clips, skipped, time.monotonic() - started, encoded))
    count = Counter(outcome.status for outcome in outcomes)
    return ExtractReport(
        clips=clips,
        made=count["made"],
        found=count["found"],
        absent=count["absent"],
        without=without,
        skipped=[Skipped(o.id, o.part, o.reason) for o in outcomes if o.status == "skipped"],
        bytes=sum(outcome.bytes for outcome in outcomes),
        packed=pack(store),
        seconds=round(time.monotonic() - started, 3),
    )


class Encode:
    """What a Ray actor holds: the settings; encoder and base are loaded with its first unit.

    Args:
        config_json: An `ExtractConfig` as JSON.
    """

    def __init__(self, config_json: str) -> None:
        self.config_json = config_json

    def __call__(self, batch: Batch) -> dict[str, list[Any]]:
        """Encode the units of a batch."""
        found = []
        for text in batch["jobs"]:
            jobs = [Job(**fields) for fields in json.loads(str(text))]
            found.append(
                json.dumps([asdict(outcome) for outcome in encode_unit(self.config_json, jobs)])
            )
        return {"outcomes": found, "clips": [int(clips) for clips in batch["clips"]]}


def cpus_per_worker(cpus: float, workers: int) -> float:
    """How much of a CPU an actor may claim so that at least one CPU is left for Ray's own tasks.

    Raises:
        ConfigError: If the cluster has no second CPU.

    Example:
        >>> cpus_per_worker(8, 4), cpus_per_worker(4, 4)
        (1.0, 0.75)
    """
    if cpus < 2:
        raise ConfigError(
            f"Ray Data needs 2 CPUs, one for reading and one for encoding, and sees {cpus:g}; use "
            "--engine local"
        )
    return min(1.0, (cpus - 1) / workers)


def _ray() -> tuple[Any, Any]:
    try:
        return import_module("ray"), import_module("ray.data")
    except ImportError as error:
        raise ConfigError(f"--engine ray needs Ray ({error}): pip install 'pave[ray]'") from error
