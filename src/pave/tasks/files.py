"""Reading what others wrote: annotation files in JSON or JSON lines, and predictions.

Predictions may name their fields as their author liked: the scripts of PAVE and of lmms-eval do not
agree on it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pave.errors import RecordError
from pave.files import as_path, entries_of
from pave.tasks.task import Prediction
from pave.texts import TextError, TextFile, lines_of, parse_json, read_text

# In the order in which they are looked for: a row may have several.
_IDS = ("id", "question_id", "image_id", "take_id", "video_id")
_TEXTS = ("prediction", "text", "caption", "pred", "answer_text", "response")
_TABLES = (
    "turn it into JSON lines first: pandas.read_parquet(X).to_json('X.jsonl', orient='records', "
    "lines=True)"
)


def annotation_files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The annotation files that are meant; of a folder, every JSON file that is not hidden."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        found += [entry for entry in entries_of(path) if entry.suffix in (".json", ".jsonl")]
    return found


def read_annotations(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Parsed annotation files by name; of a folder, every JSON file in it.

    Raises:
        RecordError: If there are none, two have one name, or one cannot be read.
    """
    found = annotation_files(paths)
    if not found:
        raise RecordError(
            f"no annotation files found in {', '.join(map(str, paths)) or 'nothing'}; give .json "
            "or .jsonl files"
        )
    # Tasks know their files by name, so a second one of a name would be lost.
    names = sorted(path.name for path in found)
    for name, following in pairwise(names):
        if name == following:
            raise RecordError(f"two annotation files are called {name}; give each file once")
    return {path.name: read_json(path) for path in found}


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file, or a list of the objects of a JSON lines file.

    They are told apart by what is inside: lines are often called `.json` too.

    Raises:
        RecordError: If the file cannot be read as either; the message has the line.
    """
    file = as_path(path, RecordError, "a JSON file")
    if file.suffix == ".parquet":
        raise RecordError(f"{file}: parquet is not read here; {_TABLES}")
    text = read_text(TextFile(file, RecordError, "give a JSON file in UTF-8"))
    try:
        content = parse_json(text)
    except TextError as error:
        if file.suffix != ".jsonl" and not _is_lines(text):
            raise RecordError(f"{file}: {error}; give a JSON file of annotations") from error
        return _read_lines(text, file)
    if file.suffix == ".jsonl":
        return [content]  # lines, of which there is only one
    return content


def _is_lines(text: str) -> bool:
    """Whether the first line is an object of its own."""
    first = text.lstrip().split("\n", 1)[0]
    try:
        return isinstance(parse_json(first), dict)
    except TextError:
        return False


def _read_lines(text: str, file: Path) -> list[Any]:
    """The objects of JSON lines; empty lines are passed over."""
    rows = []
    for number, line in lines_of(text):
        try:
            rows.append(parse_json(line))
        except TextError as error:
            raise RecordError(f"{file}:{number}: {error}; write one object per line") from error
    return rows


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """Predictions in the order of their file: pave's own, or those of the authors' scripts.

    A row names its question by `id`, `question_id` or `image_id`, and its answer by `prediction`,
    `text`, `caption` or `pred`.

    Raises:
        RecordError: If the file cannot be read, is empty, or a row has no answer.
    """
    rows = read_json(path)
    if isinstance(rows, dict) and any(name in rows for name in _IDS):
        rows = [rows]  # a single prediction
    if not isinstance(rows, list) or not rows:
        raise RecordError(
            f"{path} holds no predictions; write one object per line, such as "
            '{"id": "a1", "prediction": "dog"}'
        )
    return [_prediction(row, f"{path}: prediction {number}") for number, row in enumerate(rows, 1)]


def _prediction(row: Any, where: str) -> Prediction:
    """One row, under whatever names its author chose.

    Raises:
        RecordError: If it is no object, or lacks a name or an answer.
    """
    if not isinstance(row, dict):
        raise RecordError(f"{where} is not an object; write one object per prediction")
    # Some benchmarks number their questions.
    name = _first(row, _IDS, str | int)
    text = _first(row, _TEXTS, str)
    if name is None or text is None:
        wanted = f"{' or '.join(_IDS[:3])} and {' or '.join(_TEXTS[:4])} (texts)"
        raise RecordError(f"{where} needs {wanted}; it has {', '.join(row) or 'nothing'}")
    return Prediction(str(name), text, row)


def _first(row: Mapping[str, Any], names: Sequence[str], kind: Any) -> Any:
    """The first of some fields that holds a value of a kind; None where none does."""
    for name in names:
        if isinstance(row.get(name), kind):
            return row[name]
    return None
