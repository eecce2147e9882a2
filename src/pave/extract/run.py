"""`extract`: hand out units of clips, keep the store packed, survive dying workers, and say what came out.

Several calls, on one machine or on many that see the same folder, share the work by leases: a unit
that somebody else works on is left to him and looked at again at the end, when its entries are
there or its lease has run out.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from pave.bases import Base
from pave.cache import Leases, TokenCache, pack
from pave.cache.shards import MOST_ENTRIES
from pave.extract.config import ExtractConfig
from pave.extract.report import ExtractReport, Outcome, Progress, Skipped, Watch
from pave.extract.work import Encoding, Unit, open_store, plan
from pave.extract.workers import Workers, must_not_be_starting

logger = logging.getLogger(__name__)

_POLL = 0.5
CRASH = "the process that encoded it died (out of memory, or a crash in a decoder)"


def extract(
    config: ExtractConfig, *, base: Base | None = None, watch: Watch | None = None
) -> ExtractReport:
    """Encode what the store lacks of some records.

    An interrupted or killed call started again goes on where it stopped; calls that run at the same
    time share the work.

    Args:
        config: What to encode, and where to.
        base: A loaded base to use instead of loading `config.base`; only with one worker. It is fed
            as before afterwards.
        watch: Called with the progress after each unit.

    Returns:
        The summary. Clips that cannot be used are in `skipped`, with reasons.

    Raises:
        RecordError: If the records cannot be read.
        ChannelError: If the encoder is unknown or misconfigured.
        BaseError: If the base cannot be loaded.
        ConfigError: If the store keeps another type of tensors, or a script with several workers
            lacks its main guard.

    Example:
        >>> config = ExtractConfig(records="train.jsonl", store="tokens", channel="audio", encoder="mel")  # doctest: +SKIP
        >>> extract(config).skipped                                                                      # doctest: +SKIP
        []
    """
    must_not_be_starting()
    started = time.monotonic()
    units, without = plan(config)
    store = open_store(config)
    before = None if base is None else base.inputs
    try:
        encoding = Encoding(config, base) if config.workers == 1 else None
        workers = Workers(config, encoding)
        with Leases(store.folder / "leases") as leases:
            run = _Run(config, units, store, leases, workers, encoding, watch, started)
            try:
                run.all_units()
            finally:
                workers.stop()
    finally:
        if base is not None and before is not None:
            base.use(before)
    run.packed += pack(store)
    return run.report(without)


class _Run:
    """The state of one call."""

    def __init__(
        self,
        config: ExtractConfig,
        units: list[Unit],
        store: TokenCache,
        leases: Leases,
        workers: Workers,
        encoding: Encoding | None,
        watch: Watch | None,
        started: float,
    ) -> None:
        self.config, self.store, self.leases, self.workers = config, store, leases, workers
        self.encoding, self.watch, self.started = encoding, watch, started
        self.todo, self.elsewhere, self.suspects = deque(units), deque[Unit](), deque[Unit]()
        self.running: dict[Future[list[Outcome]], Unit] = {}
        self.clips = sum(unit.clips for unit in units)
        self.done = self.encoded = self.packed = self.fresh = 0
        self.outcomes: list[Outcome] = []

    def all_units(self) -> None:
        """Until every unit is done, here or elsewhere."""
        while self.todo or self.running or self.suspects or self.elsewhere:
            self._fill()
            if not self.running:
                if self.suspects:
                    self._try_alone(self.suspects.popleft())
                    continue
                time.sleep(_POLL)  # all that is left is being done elsewhere
                self.todo, self.elsewhere = self.elsewhere, deque()
                continue
            finished, _ = wait(self.running, timeout=_POLL, return_when=FIRST_COMPLETED)
            for future in finished:
                self._take(future)

    def report(self, without: int) -> ExtractReport:
        """The summary."""
        count = Counter(outcome.status for outcome in self.outcomes)
        return ExtractReport(
            clips=self.clips,
            made=count["made"],
            found=count["found"],
            absent=count["absent"],
            without=without,
            skipped=[
                Skipped(o.id, o.part, o.reason) for o in self.outcomes if o.status == "skipped"
            ],
            bytes=sum(outcome.bytes for outcome in self.outcomes),
            packed=self.packed,
            seconds=round(time.monotonic() - self.started, 3),
        )

    def _fill(self) -> None:
        """Keep the workers busy with units that nobody else works on."""
        while self.todo and len(self.running) < 2 * self.workers.count:
            unit = self.todo.popleft()
            if not self.leases.acquire(unit.name):
                self.elsewhere.append(unit)
                continue
            try:
                self.running[self.workers.submit(unit.jobs)] = unit
            except BrokenProcessPool:
                self._after_death(unit)

    def _take(self, future: Future[list[Outcome]]) -> None:
        """The end of a unit, good or bad."""
        unit = self.running.pop(future, None)
        if unit is None:
            return
        try:
            outcomes = future.result()
        except BrokenProcessPool:
            self._after_death(unit)
            return
        self._finish(unit, outcomes)

    def _after_death(self, unit: Unit) -> None:
        """A worker died, and with it the pool: nobody knows on which clip, so all that ran are tried one by one."""
        logger.warning("a worker died; its clips are tried again one by one")
        self.suspects += [unit, *self.running.values()]
        self.running.clear()
        self.workers.restart()

    def _try_alone(self, unit: Unit) -> None:
        """The jobs of a unit one at a time with nothing beside them: the one that kills its process is the one to blame."""
        outcomes: list[Outcome] = []
        for job in unit.jobs:
            try:
                outcomes += self.workers.submit((job,)).result()
            except BrokenProcessPool:
                self.workers.restart()
                self.encoding = self.encoding or Encoding(self.config)
                outcomes.append(self.encoding.note_crash(job, CRASH))
        self._finish(unit, outcomes)

    def _finish(self, unit: Unit, outcomes: list[Outcome]) -> None:
        self.leases.release(unit.name)
        self.outcomes += outcomes
        self.done += unit.clips
        self.encoded += unit.clips if any(outcome.status != "found" for outcome in outcomes) else 0
        self.fresh += sum(outcome.status in ("made", "absent") for outcome in outcomes)
        for outcome in outcomes:
            if outcome.status == "skipped":
                logger.warning("skipped %s of %s: %s", outcome.part, outcome.id, outcome.reason)
        if self.fresh >= MOST_ENTRIES:
            self.packed, self.fresh = self.packed + pack(self.store, wait=False), 0
        if self.watch:
            skipped = sum(outcome.status == "skipped" for outcome in self.outcomes)
            self.watch(
                Progress(
                    self.done, self.clips, skipped, time.monotonic() - self.started, self.encoded
                )
            )
