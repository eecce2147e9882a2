"""The arm that sees nothing: how far the questions alone carry."""

from __future__ import annotations

from collections.abc import Sequence

from pave.answer import Sampling
from pave.answer.alone import answer_alone, prompts_alone
from pave.answer.batches import open_turns
from pave.data import Record
from pave.evaluate.clip_arm import MEASURED
from pave.evaluate.evaluation import Evaluation


class BlindArm:
    """The base or LoRA-only patches, asked without the clip.

    A patch with a channel is off here, since there is no channel.

    Args:
        run: The evaluation.
        arm: Its name.

    Attributes:
        notes: See `AtWork`.
    """

    def __init__(self, run: Evaluation, arm: str) -> None:
        self.run = run
        self.notes: list[str] = []
        names = run.patches[arm]
        if any(run.model.patches[name].parts for name in names):  # no channel without a clip
            self.notes.append(
                f"{arm}: a patch with a channel is off without a clip, so these answers are "
                "those of the base; name the LoRA-only patch to see what was learned from the "
                "questions"
            )
        run.model.set_patches(dict.fromkeys(names, 1.0))

    def batches(self) -> list[list[Record]]:
        """Questions of like length side by side, and those in the same words together."""
        # Not clip by clip, since no clip is read.

        def size(record: Record) -> tuple[int, str]:
            question = record.turns[-1].question
            return len(question), question

        ordered = sorted(self.run.asked, key=size)
        count = self.run.config.batch
        batches = []
        for start in range(0, len(ordered), count):
            batch = ordered[start : start + count]
            batches.append(batch)
        return batches

    def answer(self, batch: Sequence[Record]) -> dict[str, str]:
        """Record id -> what the arm says."""
        dialogues = [open_turns(record) for record in batch]
        said = answer_alone(self.run.model, dialogues, Sampling(self.run.max_new_tokens))
        return {record.id: text for record, text in zip(batch, said, strict=True)}

    def prompt_tokens(self) -> float:
        """Mean over the first questions."""
        dialogues = [open_turns(record) for record in self.run.asked[:MEASURED]]
        prompts, _ = prompts_alone(self.run.model, dialogues)
        return sum(map(len, prompts)) / len(prompts)
