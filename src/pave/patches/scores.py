"""`scores.json`: what `pave eval` measured with a patch, and the same in the form the Hub reads.

The scores lie beside `patch.json`, not in it: an evaluation must not change what the patch is. They
belong to the weights that they were measured with, so those of other weights are not shown.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pave.errors import PatchError, first_problem
from pave.files import write_text_atomically
from pave.patches.config import Example, PatchConfig
from pave.patches.layout import RESULTS, SCORES, inside
from pave.texts import parse_json

logger = logging.getLogger(__name__)

_LIMIT = 1 << 22  # bytes; a true one has a few thousand


class Measured(BaseModel):
    """One score of the patch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score: str = Field(description="What was measured, such as accuracy.")
    value: float = Field(description="Times 100, as tables print it.")
    n: int = Field(description="Questions.")
    notes: str = Field("", description="Its interval, and the differences to the other arms.")


class Evaluation(BaseModel):
    """One evaluation of a patch beside other arms, as the card shows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="The name of the records file.")
    task: str = Field(description="Name of the task whose score it is.")
    title: str = Field(description="Title of the task.")
    arm: str = Field(description="Name of the arm of the table that is this patch.")
    date: str = Field(description="Date of the evaluation, as YYYY-MM-DD.")
    pave_version: str = Field(description="Version of pave that was used.")
    header: list[str] = Field(description="Titles of the table's columns.")
    rows: list[list[str]] = Field(description="Cells of the table, with their intervals.")
    how: list[str] = Field(description="How to read the table.")
    measured: list[Measured] = Field(description="The patch's own scores, as numbers.")
    example: Example | None = Field(
        None, description="A question that the patch answers correctly and the base does not."
    )
    weights: dict[str, str] = Field(description="sha256 of the weight files that were measured.")

    @property
    def key(self) -> tuple[str, str]:
        """What a newer evaluation replaces."""
        return self.name, self.task


class _ScoresFile(BaseModel):
    """The content of `scores.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    evaluations: list[Evaluation] = []


def read_scores(folder: Path, config: PatchConfig) -> list[Evaluation]:
    """What was measured with the weights that a patch folder holds; empty where nothing was.

    Args:
        folder: A patch folder.
        config: Its config, whose hashes say which weights it holds.

    Raises:
        PatchError: If `scores.json` is damaged.
    """
    if not (folder / SCORES).exists():
        return []
    path = inside(folder, SCORES)
    try:
        if path.stat().st_size > _LIMIT:
            raise PatchError(f"{path} is too large for a file of scores; delete it")
        content = json.dumps(parse_json(path.read_bytes()))
        found = _ScoresFile.model_validate_json(content).evaluations
    except ValidationError as error:
        where, what = first_problem(error)
        raise PatchError(
            f"{path} does not hold scores of pave ({where}: {what}); delete it, and evaluate again"
        ) from error
    except (OSError, ValueError) as error:
        raise PatchError(f"{path} cannot be read as JSON ({error}); delete it") from error
    own = [evaluation for evaluation in found if evaluation.weights == config.files]
    if len(own) < len(found):
        logger.warning(
            "%s holds scores of other weights than the patch now has, so they are left out", path
        )
    return own


def add_evaluation(known: Sequence[Evaluation], new: Evaluation) -> list[Evaluation]:
    """The evaluations with a new one, which replaces an older one of the same questions."""
    kept = [evaluation for evaluation in known if evaluation.key != new.key]
    return [*kept, new]


def write_scores(folder: Path, evaluations: Sequence[Evaluation]) -> None:
    """Write `scores.json` and the files for the Hub, each complete or not at all.

    Raises:
        PlaceError: If the folder cannot be written.
    """
    content = _ScoresFile(evaluations=list(evaluations))
    write_text_atomically(folder / SCORES, content.model_dump_json(indent=2) + "\n")
    for name, text in result_files(evaluations).items():
        write_text_atomically(folder / name, text)


def result_files(evaluations: Sequence[Evaluation]) -> Mapping[str, str]:
    """The Hub's files of scores: path in the folder -> YAML.

    An entry is one score of the patch; its interval and the other arms stand in the notes, since
    the form has no place of its own for them.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files = {}
    for evaluation in evaluations:
        # The form asks for a data set on the Hub. `local/` says that there is none of that name.
        data = f"local/{_slug(evaluation.name)}"
        entries = []
        for row in evaluation.measured:
            entry = EvalResultEntry(
                dataset_id=data,
                task_id=f"{evaluation.task}/{row.score}",
                value=row.value,
                date=evaluation.date,
                notes=row.notes,
            )
            entries.append(entry)
        text = yaml.safe_dump(
            eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True
        )
        files[f"{RESULTS}{_slug(evaluation.name)}-{_slug(evaluation.task)}.yaml"] = text
    return files


def _slug(name: str) -> str:
    """A name that can be a file's and a repository's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "records"
