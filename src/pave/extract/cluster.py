"""Extraction on a Ray cluster: the same units through the same function, handed out by Ray Data.

Ray is an extra. Every node must see the records, the media and the token cache under the same
paths; each worker writes what it encodes straight into the cache, so a lost node costs its units at
hand, and a second call goes on as always.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

from pave.errors import ConfigError, PaveError
from pave.extract.config import ExtractConfig
from pave.extract.plan import Job, plan
from pave.extract.report import ExtractReport, Outcome, Tally, Watch
from pave.extract.work import encode_jobs, open_cache
from pave.version import install_extra

BLOCKS_A_WORKER = 500
"""Pieces in which the work of one is handed out; Ray keeps account of each of them."""


def extract_on_ray(config: ExtractConfig, *, watch: Watch | None = None) -> ExtractReport:
    """As `pave.extract.extract`, with `config.workers` Ray actors.

    A running Ray is used if there is one (`RAY_ADDRESS`), else one is started on this machine.

    Args:
        config: What to encode, and where to.
        watch: Called with the progress after each unit.

    Raises:
        ConfigError: If Ray is not installed, the cluster has too few CPUs, or a worker cannot
            load the encoder or the base.
        RecordError: If the records cannot be read.
        ChannelError: If the encoder is unknown.
    """
    ray = connected()
    work = plan(config)
    tally = Tally(work.clips, work.without, watch)
    # Here, so that actors do not settle its type all at once.
    open_cache(config)
    resources = ray.cluster_resources()
    workers = max(1, config.workers)
    rows = []
    for unit in work.units:
        # JSON, because the columns of Arrow do not hold mixed sources.
        jobs = json.dumps([asdict(job) for job in unit.jobs])
        rows.append({"jobs": jobs, "clips": unit.clips})
    if not rows:
        return tally.report()
    # Before anything is handed out, so that this is said in a line.
    cpus = cpus_per_worker(float(resources.get("CPU", 0)), workers)
    gpus = gpus_per_worker(float(resources.get("GPU", 0)), workers, config.device)
    # One unit a row and a row a batch: what is in a lost block and done is found in the cache.
    data = import_module("ray.data")
    blocks = min(len(rows), BLOCKS_A_WORKER * workers)
    units = data.from_items(rows, override_num_blocks=blocks)
    results = units.map_batches(
        Encode,
        fn_constructor_args=(config.model_dump_json(),),
        batch_size=1,
        compute=data.ActorPoolStrategy(size=workers),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    for row in results.iter_rows():
        # No clip's fault, which would be an outcome: the next unit would fail the same way.
        if row["error"]:
            raise ConfigError(row["error"])
        outcomes = [Outcome(**fields) for fields in json.loads(row["outcomes"])]
        tally.add(int(row["clips"]), outcomes)
    return tally.report()


class Encode:
    """What a Ray actor holds: the settings; encoder and base are loaded with its first unit.

    Args:
        config_json: An `ExtractConfig` as JSON.
    """

    def __init__(self, config_json: str) -> None:
        self.config_json = config_json

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Encode the units of a batch, one a row."""
        found, errors = [], []
        for text in batch["jobs"]:
            jobs = [Job(**fields) for fields in json.loads(str(text))]
            outcomes, error = [], ""
            try:
                outcomes = encode_jobs(self.config_json, jobs)
            except PaveError as refused:
                # As a value: Ray would wrap it in a page of its own traces.
                error = str(refused)
            found.append(json.dumps([asdict(outcome) for outcome in outcomes]))
            errors.append(error)
        # Ray hands over a column of numpy's whole numbers.
        clips = [int(clips) for clips in batch["clips"]]
        return {"outcomes": found, "error": errors, "clips": clips}


def cpus_per_worker(cpus: float, workers: int) -> float:
    """How much of a CPU an actor may claim so that at least one is left for Ray's own tasks.

    Ray waits silently for ever when its actors take every CPU, because reading the list of units
    then finds none. So a worker claims less than a whole CPU where there are no more CPUs than
    workers.

    Raises:
        ConfigError: If the cluster has no second CPU.

    Example:
        >>> cpus_per_worker(8, 4), cpus_per_worker(4, 4)
        (1.0, 0.75)
    """
    if cpus < 2:
        raise ConfigError(
            f"Ray Data needs 2 CPUs, one for reading and one for encoding, but sees {cpus:g}; use "
            "--engine local"
        )
    # All actors together leave one CPU.
    return min(1.0, (cpus - 1) / workers)


def gpus_per_worker(gpus: float, workers: int, device: str) -> float:
    """How much of a GPU each of some workers may claim.

    Ray hides all GPUs from a worker that claims none.

    Args:
        gpus: GPUs of the cluster.
        workers: How many share them.
        device: Where they are to compute, as the settings say.

    Example:
        >>> gpus_per_worker(4, 8, "auto"), gpus_per_worker(4, 2, "cpu")
        (0.5, 0.0)
    """
    if device == "cpu":
        return 0.0
    return min(1.0, gpus / workers)


def connected() -> Any:
    """The module `ray`, connected to a cluster or to one of its own on this machine.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        ray = import_module("ray")
        import_module("ray.data")
    except ImportError as error:
        raise ConfigError(f"--engine ray needs Ray ({error}): {install_extra('ray')}") from error
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray
