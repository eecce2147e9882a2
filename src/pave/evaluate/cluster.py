"""Evaluation on a Ray cluster: the shares of `evaluate_share`, each a task of Ray.

A share that is lost with its node is handed out again and goes on with the answers that it has left
in the folder. Every node must see records, media, patches, token cache and `out` under the same
paths.
"""

from __future__ import annotations

from pave.errors import PaveError
from pave.evaluate.config import EvalConfig
from pave.evaluate.evaluation import Progress
from pave.evaluate.report import Report
from pave.evaluate.run import evaluate, evaluate_share
from pave.extract.cluster import connected, gpus_per_worker


def evaluate_on_ray(config: EvalConfig, *, progress: Progress | None = None) -> Report:
    """As `pave.evaluate.evaluate`, in `config.workers` tasks on a Ray cluster.

    A running Ray is used if there is one (`RAY_ADDRESS`), else one is started on this machine.

    Args:
        config: What to ask whom; `shard` and `swap` are left open.
        progress: Called with ("shares", done, total).

    Raises:
        ConfigError: If Ray is not installed.
        PaveError: As for `evaluate`.
    """
    ray = connected()
    parts = max(1, config.workers)
    gpus = gpus_per_worker(float(ray.cluster_resources().get("GPU", 0)), parts, config.device)
    # Lost with a node, however often; a mistake of ours in the code is not tried again.
    task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=-1)(answer_share)
    waiting = []
    for part in range(1, parts + 1):
        own = config.model_copy(update={"shard": f"{part}/{parts}", "workers": 1})
        waiting.append(task.remote(own.model_dump_json()))
    report = None
    while waiting:
        done, waiting = ray.wait(waiting, num_returns=1)
        found = ray.get(done[0])
        # Ray would wrap it in a page of its own traces.
        if isinstance(found, PaveError):
            raise found
        report = report or found
        if progress is not None:
            progress("shares", parts - len(waiting), parts)
    # The share that made it may have been lost with it: then nothing is left to ask.
    return report or evaluate(config)


def answer_share(config_json: str) -> Report | PaveError | None:
    """In a task of Ray: the report, if this share is the last one; what a user can mend as a value.

    Args:
        config_json: An `EvalConfig` with its `shard`, as JSON.
    """
    try:
        return evaluate_share(EvalConfig.model_validate_json(config_json)).report
    except PaveError as error:
        return error
