"""Reading what others wrote: annotation files in JSON or JSON lines, predictions under whatever names their author chose."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pave.errors import RecordError
from pave.tasks.task import Prediction

_IDS = ("id", "question_id", "image_id", "take_id", "video_id")
_TEXTS = ("prediction", "text", "caption", "pred", "answer_text", "response")
_TABLES = "turn it into JSON lines first: pandas.read_parquet(X).to_json('X.jsonl', orient='records', lines=True)"


def read_annotations(paths: Sequence[str | os.PathLike[str]]) -> dict[str, Any]:
    """Parsed annotation files by name; of a folder, every JSON file in it.

    Raises:
        RecordError: If there are none, two have one name, or one cannot be read.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found += (
            sorted(entry for entry in path.iterdir() if entry.suffix in (".json", ".jsonl"))
            if path.is_dir()
            else [path]
        )
    if not found:
        raise RecordError(
            f"no annotation files in {', '.join(map(str, paths)) or 'nothing'}; give .json or "
            ".jsonl files"
        )
    names = [path.name for path in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecordError(f"two annotation files are called {twice[0]}; give each once")
    return {path.name: read_json(path) for path in found}


def read_json(path: str | os.PathLike[str]) -> Any:
    """The content of a JSON file, or a list of the objects of a JSON lines file, told apart by what is inside.

    Raises:
        RecordError: If the file cannot be read as either; the message has the line.
    """
    file = Path(path)
    if file.suffix == ".parquet":
        raise RecordError(f"{file}: parquet is not read here; {_TABLES}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(f"cannot read {file}: {error}; give a JSON file in UTF-8") from error
    try:
        content = json.loads(text)
        return [content] if file.suffix == ".jsonl" else content
    except RecursionError as error:
        raise RecordError(
            f"{file}: lists or objects are nested too deeply; give a JSON file of annotations"
        ) from error
    except json.JSONDecodeError as error:
        if file.suffix != ".jsonl" and not _is_lines(text):
            raise RecordError(
                f"{file}: not valid JSON ({error.msg}, line {error.lineno}, column {error.colno})"
            ) from error
    return [
        _line(line, f"{file}:{number}")
        for number, line in enumerate(text.split("\n"), 1)
        if line.strip()
    ]


def read_predictions(path: str | os.PathLike[str]) -> list[Prediction]:
    """Predictions in the order of their file: pave's own, or those of the authors' scripts.

    A row names its question by `id`, `question_id` or `image_id`, and its answer by `prediction`,
    `text`, `caption` or `pred`.

    Raises:
        RecordError: If the file cannot be read, is empty, or a row has no answer.
    """
    content = read_json(path)
    rows = (
        [content]
        if isinstance(content, dict) and any(name in content for name in _IDS)
        else content
    )
    if not isinstance(rows, list) or not rows:
        raise RecordError(
            f'{path} holds no predictions; write one object per line, such as {{"id": "a1", "prediction": "dog"}}'
        )
    return [_prediction(row, f"{path}: prediction {number}") for number, row in enumerate(rows, 1)]


def _prediction(row: Any, where: str) -> Prediction:
    if not isinstance(row, dict):
        raise RecordError(f"{where} is no object; write one per prediction")
    name = next((key for key in _IDS if isinstance(row.get(key), str | int)), None)
    text = next((key for key in _TEXTS if isinstance(row.get(key), str)), None)
    if name is None or text is None:
        wanted = f"{' or '.join(_IDS[:3])} and {' or '.join(_TEXTS[:4])} (texts)"
        raise RecordError(f"{where} needs {wanted}; it has {', '.join(row) or 'nothing'}")
    return Prediction(str(row[name]), row[text], row)


def _is_lines(text: str) -> bool:
    """Whether the first line is an object of its own."""
    try:
        return isinstance(json.loads(text.lstrip().split("\n", 1)[0]), dict)
    except (json.JSONDecodeError, RecursionError):
        return False


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except RecursionError as error:
        raise RecordError(f"{where}: lists or objects are nested too deeply") from error
    except json.JSONDecodeError as error:
        raise RecordError(
            f"{where}: not valid JSON ({error.msg} at column {error.colno})"
        ) from error
