"""Questions of a file of records, and their answers as lines of another one.

A line of answers is written as soon as a record is finished, so a run that was interrupted goes on
where it stopped. What cannot be asked is told of and left out; nothing else waits for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave.answer import AnsweringModel, Sampling, reply
from pave.answer.messages import ChatTurn, Part, VideoPart
from pave.bases.inputs import FrameWord
from pave.data import Record, group_by_clip
from pave.data.records import each_record
from pave.errors import ConfigError, PaveError, RecordError
from pave.evaluate.arm_files import ROW_BEGIN
from pave.files import regular_file, writing, written_lines
from pave.texts import TextError, parse_json

_NO_ANSWERS = "is not an answer; choose another file for --out, or delete it"


@dataclass(frozen=True)
class Batch:
    """What is to be asked.

    Attributes:
        records: Those that have no answers yet, in the order of the file.
        done: How many have.
        failures: What is wrong with the lines that cannot be asked.
    """

    records: list[Record]
    done: int
    failures: list[str]


def questions_of(path: Path, out: Path) -> Batch:
    """The records of a file that a file of answers lacks.

    Args:
        path: Records of any format.
        out: The answers so far; a last line that a kill has cut short is taken off.

    Raises:
        RecordError: If the file cannot be read.
        ConfigError: If the file of answers holds something else.
    """
    finished = _finished(out)
    records: list[Record] = []
    failures: list[str] = []
    ids: set[str] = set()
    done = 0
    for found in each_record(path):
        if isinstance(found, RecordError):
            failures.append(str(found))
        elif found.id in ids:
            failures.append(f"{path}: id {found.id!r} was used before; ids must be unique")
        elif found.id in finished:
            done += 1
        else:
            records.append(found)
        if isinstance(found, Record):
            ids.add(found.id)
    return Batch(records, done, failures)


def answer_file(
    model: AnsweringModel,
    records: Sequence[Record],
    out: Path,
    *,
    frames: FrameWord | None = None,
    sampling: Sampling | None = None,
    system: str | None = None,
) -> Iterator[str]:
    """Ask what records leave open, and add their answers to a file.

    Turns without an answer are asked in their order, each in the light of those before it.

    Args:
        model: The model, with the wanted patches on.
        records: What to ask; records of one clip share what is seen of it.
        out: The file of answers.
        frames: Frames of each clip, as `PatchedModel.ask` takes them.
        sampling: How answers are generated; greedily when not given.
        system: A system message before each record's turns.

    Yields:
        A line for each record that could not be answered.

    Raises:
        ConfigError: If more than one answer to a question is wanted.
    """
    sampling = sampling or Sampling()
    if sampling.n > 1:
        raise ConfigError("a file of answers has one answer per question; set n to 1")
    for members in group_by_clip(records):
        first = members[0]
        clip = VideoPart(first.video, frames, first.channels)
        memory: dict[Any, Any] = {}  # of this clip
        for record in members:
            try:
                answers = _answered(model, record, clip, sampling, memory=memory, system=system)
            except PaveError as error:
                yield f"{record.id}: {error}"
                continue
            row = {"id": record.id, "video": record.video, "turns": answers}
            with writing(out), out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _answered(
    model: AnsweringModel,
    record: Record,
    clip: VideoPart,
    sampling: Sampling,
    *,
    memory: dict[Any, Any],
    system: str | None,
) -> list[dict[str, str]]:
    """The record's turns with their answers."""
    turns: list[ChatTurn] = []
    rows = []
    parts: tuple[Part, ...] = (clip,)
    for turn in record.turns:
        if not turn.question.strip():
            raise RecordError("a question must not be empty")
        parts = (*parts, turn.question)
        answer = turn.answer
        if answer is None:
            (answer,) = reply(model, [*turns, ChatTurn(parts, None, system)], sampling, memory)
        turns.append(ChatTurn(parts, answer, system))
        rows.append({"question": turn.question, "answer": answer})
        parts, system = (), None  # the clip is shown once, behind the system message
    return rows


def _finished(out: Path) -> set[str]:
    """Ids of the records that are answered."""
    if not out.exists():
        return set()
    regular_file(out, ConfigError, "a file of answers")
    # Only the last one may be cut short, and only if it is one of ours.
    lines = written_lines(out, ROW_BEGIN, ConfigError, _NO_ANSWERS)
    return {_id_of(line, f"{out}:{number}") for number, line in lines}


def _id_of(line: bytes, where: str) -> str:
    try:
        row = parse_json(line)
    except TextError:
        row = None
    if not isinstance(row, dict) or not isinstance(row.get("id"), str) or "turns" not in row:
        raise ConfigError(f"{where}: {_NO_ANSWERS}")
    return str(row["id"])
