"""The answers file: one JSON line a question, written as answers come, read again when an interrupted evaluation goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pave.errors import ConfigError
from pave.evaluate.items import Answer


def read_answers(path: Path) -> dict[tuple[str, str], Answer]:
    """Answers written so far, by (arm, item id). A last line cut short by a kill is taken off the file."""
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
    if kept < path.stat().st_size:
        os.truncate(path, kept)
    return found


def append_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Add lines to the file and hand them to the operating system, so that a killed process loses none of them."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Make the folder belong to these settings, or check that it does.

    Raises:
        ConfigError: If it holds answers made with other settings: mixing them would make a result that no run gives.
    """
    out.mkdir(parents=True, exist_ok=True)
    file, text = out / "settings.json", json.dumps(settings, indent=2, sort_keys=True)
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    wanted = json.loads(text)
    if known is not None and known != wanted:
        changed = ", ".join(sorted(key for key in known.keys() | wanted.keys() if known.get(key) != wanted.get(key)))
        raise ConfigError(f"{out} holds answers made with other settings ({changed}); choose another out folder, or delete it")
    file.write_text(text, encoding="utf-8")


def _parse(line: bytes) -> Answer | None:
    """The answer on a complete line, None on a torn one."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Answer(**json.loads(line))
    except (ValueError, TypeError):
        return None
