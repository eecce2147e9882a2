"""Ctrl-C and SIGTERM in training: the step is finished, a checkpoint written, then it ends.

Without it everything since the newest checkpoint would be lost.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Ends the training after the step in which a signal came.

    Attributes:
        signal: The first signal that came to any process of the run, or None.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.signal: int | None = None

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint and for the end; all processes after the same step."""
        if args.world_size > 1:
            # torchrun tells its processes one after another, in the middle of different steps.
            self.signal = _agreed(self.signal, args.device)
        if self.signal is not None:
            # The Trainer looks at both right after this call.
            control.should_save = True
            control.should_training_stop = True

    def end(self, step: int) -> None:
        """End the process as the signal would have, now that the step is kept.

        Raises:
            KeyboardInterrupt: After Ctrl-C.
            SystemExit: After SIGTERM, with the exit code of a process that it ended.
        """
        if self.signal is None:
            return
        log.warning("stopped after step %d and saved it; repeat the command to resume", step)
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals instead of dying of them; a second Ctrl-C ends at once."""
        if threading.current_thread() is not threading.main_thread():
            yield  # Python lets no other thread take signals
            return
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Not for SIGTERM: torchrun sends one right after the terminal's own Ctrl-C.
        if self.signal == number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal = number
            log.warning("finishing the step and writing a checkpoint; Ctrl-C again ends at once")


def _agreed(mine: int | None, device: torch.device) -> int | None:
    """The signal that came to any process; else one would stop and the others wait for ever."""
    shared = torch.tensor(mine or 0, device=device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return int(shared) or None
