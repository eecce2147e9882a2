"""`extract`: one machine's way, in this process or in several.

Nothing is noted about work in progress: what is done is what the cache holds. A killed call, or one
beside another, finds the entries that are there and makes the rest. Calls that should share the
work take a `shard` each; without one, two calls may both encode a clip, and write the same file.
"""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from pave.bases import Base
from pave.extract.config import ExtractConfig
from pave.extract.plan import Unit, plan
from pave.extract.report import ExtractReport, Outcome, Tally, Watch
from pave.extract.work import Encoding, encode_jobs, note_crash, open_cache
from pave.extract.workers import Workers, must_not_be_starting

logger = logging.getLogger(__name__)

CRASH = "the process that encoded it died (out of memory, or a crash in a decoder)"


def extract(
    config: ExtractConfig, *, base: Base | None = None, watch: Watch | None = None
) -> ExtractReport:
    """Encode what the token cache lacks of some records.

    An interrupted or killed call started again goes on where it stopped.

    Args:
        config: What to encode, and where to.
        base: A loaded base to use instead of loading `config.base`; only with one worker. It is fed
            as before afterwards.
        watch: Called with the progress after each unit of eight clips.

    Returns:
        The summary. Clips that cannot be used are in `skipped`, with reasons.

    Raises:
        RecordError: If the records cannot be read.
        ChannelError: If the encoder is unknown or misconfigured.
        BaseError: If the base cannot be loaded.
        ConfigError: If the cache keeps another type of tensors, or a script with several workers
            lacks its main guard.

    Example:
        >>> sound = {"channel": "audio", "encoder": "mel"}
        >>> config = ExtractConfig(records="train.jsonl", cache="tokens", **sound)
        >>> extract(config).skipped  # doctest: +SKIP
        []
    """
    # First of all: a worker that imports its parent's script arrives here.
    must_not_be_starting()
    work = plan(config)
    tally = Tally(work.clips, work.without, watch)
    if config.workers > 1:
        # What is wrong with the cache is to be known here, not in a worker.
        open_cache(config)
        _in_processes(config, work.units, tally)
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
            tally.add(unit.clips, [encoding.encode(job) for job in unit.jobs])
    finally:
        if base is not None and before is not None:
            base.use(before)


def _in_processes(config: ExtractConfig, units: tuple[Unit, ...], tally: Tally) -> None:
    """All units in worker processes."""
    settings = config.model_dump_json()
    workers = Workers(config.workers)
    waiting = deque(units)
    running: dict[Future[list[Outcome]], Unit] = {}
    try:
        while waiting or running:
            # Two for each worker: one at hand and one to go on with. Not all at once, because
            # whatever has been submitted when a worker dies must be tried again one by one.
            while waiting and len(running) < 2 * workers.count:
                unit = waiting.popleft()
                running[workers.submit(encode_jobs, settings, unit.jobs)] = unit
            suspects = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                try:
                    tally.add(unit.clips, future.result())
                except BrokenProcessPool:
                    suspects.append(unit)
            if suspects:
                # With one process the whole pool is gone, and nobody knows which clip it was.
                logger.warning("a worker died; its clips are tried again one by one")
                suspects += running.values()
                running.clear()
                workers.restart()
                for unit in suspects:
                    tally.add(unit.clips, _one_by_one(workers, settings, unit))
    finally:
        workers.stop()


def _one_by_one(workers: Workers, settings: str, unit: Unit) -> list[Outcome]:
    """The jobs of a unit with nothing beside them: the one that kills its process is to blame."""
    outcomes: list[Outcome] = []
    for job in unit.jobs:
        try:
            outcomes += workers.submit(encode_jobs, settings, [job]).result()
        except BrokenProcessPool:
            # The one job that ran has ended its process: nothing else is in doubt.
            workers.restart()
            # By a worker, because the key takes the encoder, which only workers load.
            outcomes.append(workers.submit(note_crash, settings, job, CRASH).result())
    return outcomes
