"""`extract`: one machine's way, in worker processes or in this one.

Nothing is noted about work in progress: what is done is what the cache holds. A killed call, or one
beside another, finds the entries that are there and makes the rest. Calls that should share the
work take a `shard` each; without one, two calls may both encode a clip, and write the same file.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from pave.arguments import as_kind
from pave.bases import Base
from pave.data.reading import open_workers
from pave.extract.config import ExtractConfig
from pave.extract.plan import Job, Unit, plan
from pave.extract.report import ExtractReport, Outcome, Tally, Watch
from pave.extract.work import Encoding, encode_job, known_to, note_crash, open_cache
from pave.placement import find_device
from pave.workers import WorkerDiedError, Workers

logger = logging.getLogger(__name__)


def extract(
    config: ExtractConfig, *, base: Base | None = None, watch: Watch | None = None
) -> ExtractReport:
    """Encode what the token cache lacks of some records.

    An interrupted or killed call started again goes on where it stopped. A clip that ends its
    process is skipped like any broken one.

    Args:
        config: What to encode, and where to.
        base: A loaded base to use instead of loading `config.base`; then this process encodes,
            whatever `config.workers` says. It is fed as before afterwards.
        watch: Called with the progress after each unit of eight clips.

    Returns:
        The summary. Clips that cannot be used are in `skipped`, with reasons.

    Raises:
        RecordError: If the records cannot be read.
        ChannelError: If the encoder is unknown or misconfigured.
        BaseError: If the base cannot be loaded.
        ConfigError: If the cache keeps another type of tensors, or no process can be started.

    Example:
        >>> sound = {"channel": "audio", "encoder": "mel"}
        >>> config = ExtractConfig(records="train.jsonl", cache="tokens", **sound)
        >>> extract(config).skipped  # doctest: +SKIP
        []
    """
    as_kind(config, ExtractConfig, "the settings of an extraction are a pave.ExtractConfig")
    work = plan(config)
    tally = Tally(work.clips, work.without, watch)
    # What is wrong with the cache is to be known here, not in a worker.
    open_cache(config)
    # A base that is loaded here stays here: no other process could use it.
    if base is None and config.workers > 0 and work.units:
        _in_workers(config, work.units, tally)
    else:
        _here(config, work.units, tally, base)
    return tally.report()


def _here(config: ExtractConfig, units: tuple[Unit, ...], tally: Tally, base: Base | None) -> None:
    """All units in this process."""
    # An `Encoding` feeds the base as the settings say; it is handed back as it came.
    before = None if base is None else base.inputs
    try:
        encoding = Encoding(config, base)
        for unit in units:
            outcomes = [encoding.encode(job) for job in unit.jobs]
            tally.add(unit.clips, outcomes)
    finally:
        if base is not None and before is not None:
            base.use(before)


def _in_workers(config: ExtractConfig, units: tuple[Unit, ...], tally: Tally) -> None:
    """All units in worker processes, where those can make the encoder."""
    settings = config.model_dump_json()
    with (
        open_workers(config.workers, find_device(config.device)) as workers,
        ThreadPoolExecutor(config.workers, thread_name_prefix="pave-extract") as pool,
    ):
        # Not found out by the first clip, which would then be named as broken.
        if not known_to(workers, config):
            logger.warning(
                "encoder %s/%s is registered in this process only, so this process encodes all "
                "clips, and a clip that crashes a decoder ends it; register the encoder in an "
                "installed package",
                config.channel,
                config.encoder,
            )
            _here(config, units, tally, None)
            return
        waiting: dict[Future[list[Outcome]], Unit] = {}
        for unit in units:
            # A thread for each process, which waits for it.
            waiting[pool.submit(_unit, workers, settings, unit)] = unit
        try:
            for future in as_completed(waiting):
                tally.add(waiting[future].clips, future.result())
        finally:
            # After an error, what has not begun is not begun.
            pool.shutdown(wait=True, cancel_futures=True)


def _unit(workers: Workers, settings: str, unit: Unit) -> list[Outcome]:
    """The jobs of a unit, one at a time: the one that ends its process is to blame."""
    return [_job(workers, settings, job) for job in unit.jobs]


def _job(workers: Workers, settings: str, job: Job) -> Outcome:
    """What became of one job."""
    try:
        outcome: Outcome = workers.call(str(job.source), encode_job, settings, job)
    except WorkerDiedError as died:
        # Noted, so that the next call does not lose a process over it, too.
        # By a worker, because the key takes the encoder, which only workers load.
        outcome = workers.call(str(job.source), note_crash, settings, job, str(died))
    return outcome
