"""The answers file: one JSON line a question, written as answers come, read again when an interrupted evaluation goes on.

`<arm>.jsonl` holds an arm's answers in the order of the batches. Where several processes share the
work, each writes `<arm>.part-<i>-of-<n>.jsonl`, and whoever comes last puts the rows into
`<arm>.jsonl`, in the order in which one process would have written them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.items import Answer
from pave.files import make_folder, read_object, write_text_atomically, writing


def read_answers(path: Path, *, mend: bool = True) -> dict[tuple[str, str], Answer]:
    """Answers written so far, by (arm, item id).

    Args:
        path: The file.
        mend: Take a last line off the file that was cut short by a kill. Never for a file that
            another process may be writing: there the rest of the line is on its way.
    """
    if not path.exists():
        return {}
    kept, found = 0, {}
    with path.open("rb") as file:
        for line in file:
            row = _parse(line)
            if row is None:
                break
            found[row.arm, row.id] = row
            kept += len(line)
    if mend and kept < path.stat().st_size:
        os.truncate(path, kept)
    return found


def append_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Add lines to the file and hand them to the operating system, so that a killed process loses none of them."""
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.writelines(_line(answer) for answer in answers)


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Write a whole file of answers, complete or not at all."""
    write_text_atomically(path, "".join(_line(answer) for answer in answers))


def part_file(out: Path, arm: str, share: tuple[int, int]) -> Path:
    """Where a process that answers only a share writes.

    Example:
        >>> part_file(Path("out"), "sound", (0, 2)).name
        'sound.part-1-of-2.jsonl'
    """
    return out / f"{arm}.part-{share[0] + 1}-of-{share[1]}.jsonl"


def all_answers(out: Path, arm: str) -> dict[tuple[str, str], Answer]:
    """What any process has answered so far; no file is touched."""
    found: dict[tuple[str, str], Answer] = {}
    for file in (out / f"{arm}.jsonl", *sorted(out.glob(f"{arm}.part-*-of-*.jsonl"))):
        found |= read_answers(file, mend=False)
    return found


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder belong to these settings, or check that it does.

    Raises:
        ConfigError: If it holds answers made with other settings: mixing them would make a result
            that no run gives.
    """
    make_folder(out)
    file, text = out / "settings.json", json.dumps(settings, indent=2, sort_keys=True)
    advice = "choose another out folder, or delete it with the answers beside it"
    known = read_object(file, ConfigError, advice) if file.exists() else None
    wanted = json.loads(text)
    if known is not None and known != wanted:
        changed = ", ".join(
            sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key))
        )
        raise ConfigError(
            f"{out} holds answers made with other settings ({changed}); choose another out "
            "folder, or delete it"
        )
    if known is None:
        write_text_atomically(file, text)


def _line(answer: Answer) -> str:
    return json.dumps(asdict(answer), ensure_ascii=False) + "\n"


def _parse(line: bytes) -> Answer | None:
    """The answer on a complete line, None on a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Answer(**json.loads(line))
    except (ValueError, TypeError):
        return None
