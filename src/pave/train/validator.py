"""`Validator`: scores a patch while it trains, remembers which step was best, and when to stop.

The patch is asked as `pave eval` asks it: with the same code, on the base as it is outside of
training. What was scored so far is a part of every checkpoint, and a step that is better than all
before gets a checkpoint of its own. So a run that is killed and resumed keeps the same patch and
stops at the same step as one that was not.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pave.answer.batches import answer_records, by_length, cut, open_turns
from pave.data import Features, group_by_clip
from pave.data.lengths import must_fit
from pave.errors import PatchError, TrainError
from pave.model import PatchedModel
from pave.patches import read_config
from pave.texts import read_object
from pave.train.checkpoints import step_of
from pave.train.config import TrainConfig
from pave.train.held_out import Exam
from pave.train.processes import gathered, share
from pave.train.validation import Validation

log = logging.getLogger(__name__)

STATE = "validation.json"
"""File of a checkpoint with the scores so far."""
PREFIX = "eval_"
"""Before the name of a score in the log; trackers put what begins so into a group of its own."""
BATCH = 32
"""Questions that are answered at a time, as in `pave eval`."""


class Account:
    """The scores of a run's validations.

    Args:
        patience: How many in a row may be no better than the best; None for any number.

    Attributes:
        history: Step -> score.

    Example:
        >>> account = Account(patience=2)
        >>> account.history |= {10: 0.5, 20: 0.7, 30: 0.7, 40: 0.6}
        >>> account.best, account.over
        (20, True)
    """

    def __init__(self, patience: int | None) -> None:
        """No validation yet."""
        self.patience = patience
        self.history: dict[int, float] = {}

    @property
    def best(self) -> int | None:
        """The step with the best score, the first one of several that are equal."""
        if not self.history:
            return None
        # `max` takes the first one, and steps come in their order.
        return max(self.history, key=self.history.__getitem__)

    @property
    def over(self) -> bool:
        """Whether patience is exhausted."""
        if self.best is None or self.patience is None:
            return False
        steps = list(self.history)
        return len(steps) - 1 - steps.index(self.best) >= self.patience

    def save(self, checkpoint: Path) -> None:
        """Put the scores into a checkpoint that is being written."""
        note = {"scores": self.history}
        text = json.dumps(note, indent=1)
        (checkpoint / STATE).write_text(text)

    def restore(self, checkpoint: Path) -> None:
        """Go on with the scores of a checkpoint.

        Raises:
            TrainError: If they cannot be read.
        """
        note = read_object(checkpoint / STATE, TrainError, "resume=never starts over")
        # JSON has texts for keys.
        self.history = {}
        for step, score in note["scores"].items():
            self.history[int(step)] = score


class Validator(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Asks the validation records, and keeps account.

    Args:
        patched: The model, with the patch that trains.
        features: What is seen of each clip; the token cache has all of it.
        exam: What to ask.
        config: The settings of the run.
        as_used: Makes the base what it is outside of training, for as long as questions are asked.
        write: Writes the best patch, given its step, into a folder.

    Attributes:
        exam: What is asked.
        account: The scores so far.

    Raises:
        RecordError: If a record is too long for the base.
    """

    def __init__(
        self,
        patched: PatchedModel,
        features: Features,
        exam: Exam,
        config: TrainConfig,
        *,
        as_used: Callable[[], AbstractContextManager[None]],
        write: Callable[[Path, int], None],
    ) -> None:
        assert config.validation is not None
        self.settings: Validation = config.validation
        self.every = self.settings.every or config.save_every
        self.exam = exam
        self.account = Account(self.settings.patience)
        self.folder = config.best_folder
        self.clips = len(group_by_clip(exam.records))
        self._patched, self._features = patched, features
        self._as_used, self._write = as_used, write
        # Now, and not in the middle of the run.
        self._fit(config.prompt)
        self._batches = cut(by_length(exam.records, features), BATCH)

    @property
    def said(self) -> dict[str, Any]:
        """What a patch's card says of its validation."""
        facts = {
            "clips": self.clips,
            "questions": len(self.exam.records),
            "task": self.exam.task.title,
            "metric": self.exam.metric,
        }
        best = self.account.best
        if best is not None:
            facts |= {"best": round(self.account.history[best], 4), "best_step": best}
        return facts

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Write the best patch where a kill came between its checkpoint and itself."""
        if args.process_index == 0:
            self.keep(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a validation when one is due."""
        # The last patch gets a score, too, wherever the steps end.
        last = state.global_step >= state.max_steps
        if last or state.global_step % self.every == 0:
            control.should_evaluate = True

    def scores(self) -> dict[str, float]:
        """Name -> score, of the patch as it is; each process asks its share of the questions."""
        part, parts = share()
        longest = self.exam.task.max_new_tokens
        said: dict[str, str] = {}
        with self._as_used():
            # In turn, because batches grow in length: the shares take about the same time.
            for batch in self._batches[part::parts]:
                said |= answer_records(self._patched, self._features, batch, longest)
        # All processes then know all answers, so all stop after the same step.
        for others in gathered(said):
            said |= others
        return self.exam.scores(said)

    def note(self, step: int, scores: Mapping[str, float]) -> bool:
        """Keep account of a validation; whether its patch is the best one and is to be kept."""
        self.account.history[step] = scores[self.exam.metric]
        return self._keeps(step)

    def keep(self, step: int) -> None:
        """Write the best patch, if this step is the best and it is not there."""
        # A resumed run comes by steps whose patch was written before the kill.
        if self._keeps(step) and step_of_patch(self.folder) != step:
            self._write(self.folder, step)

    def restore(self, checkpoint: Path | None, process: int) -> None:
        """Go on with the scores of a checkpoint, or begin anew.

        Args:
            checkpoint: The checkpoint, or None for a run that begins.
            process: Number of this process; the first one clears what another run left.

        Raises:
            TrainError: If the checkpoint's scores cannot be read.
        """
        if checkpoint is None:
            # Its step would be taken for one of this run.
            if process == 0:
                shutil.rmtree(self.folder, ignore_errors=True)
            return
        self.account.restore(checkpoint)
        best = self.account.best
        # What this very checkpoint is of is written as soon as its weights are there.
        if best is None or not self._keeps(best) or best == step_of(checkpoint):
            return
        if step_of_patch(self.folder) is None:
            log.warning(
                "the best patch so far, of step %d, is not in %s any more; a later one is kept "
                "there only if it is better",
                best,
                self.folder,
            )

    def _keeps(self, step: int) -> bool:
        return self.settings.keep == "best" and self.account.best == step

    def _fit(self, prompt: str) -> None:
        """Refuse records that are longer than the base's context, before the first step."""
        for members in group_by_clip(self.exam.records):
            clip = self._features.clip(members[0])
            for record in members:
                turns = []
                for question, answer in open_turns(record):
                    turns.append((prompt.replace("{question}", question), answer))
                must_fit(self._features.base, clip, record, turns)


def step_of_patch(folder: Path) -> int | None:
    """The optimiser step after which a patch was saved; None where there is no patch."""
    try:
        step = read_config(folder).training.get("steps")
    except PatchError:
        return None
    if isinstance(step, int):
        return step
    return None  # a patch that something else wrote
