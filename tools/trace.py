"""How much code lies on the way: the functions and files of pave that a piece of work runs through.

    python tools/trace.py          # the table
    python tools/trace.py --list   # and every function

A newcomer who follows a question to its answer opens that many files and functions. Counted are
calls of functions that pave's source defines, comprehensions and lambdas left out; every call (and
every time a generator goes on) in another file than the one before is a change of file.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pave

SOURCE = str(Path(pave.__file__).parent)
UNNAMED = {"<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>", "<lambda>", "<module>"}


@dataclass
class Way:
    """What a piece of work ran through.

    Attributes:
        calls: (file, function) -> number of calls.
        changes: How often the next call was in another file.
        last: File of the last call.
    """

    calls: Counter[tuple[str, str]] = field(default_factory=Counter)
    changes: int = 0
    last: str = ""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Python's profile hook."""
        code = frame.f_code
        if event != "call" or code.co_name in UNNAMED:
            return
        if not code.co_filename.startswith(SOURCE):
            return
        file = code.co_filename[len(SOURCE) + 1 :]
        self.calls[file, code.co_qualname] += 1
        if file != self.last:
            self.changes += 1
            self.last = file

    @property
    def files(self) -> int:
        """Files that were entered."""
        return len({file for file, _ in self.calls})

    def functions(self) -> list[str]:
        """Every function with its number of calls."""
        rows = sorted(self.calls.items())
        return [f"    {file}: {name} ({count})" for (file, name), count in rows]


def follow(work: Callable[[], object]) -> Way:
    """Run a piece of work and note what it runs through, in every thread that it starts."""
    way = Way()
    threading.setprofile(way)
    sys.setprofile(way)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return way


def ways() -> dict[str, Way]:
    """The two that are promised: a question about a real clip, and loading a patch folder."""
    import iscc_samples

    video = iscc_samples.videos("demo.mp4")[0]
    model = pave.PatchedModel(pave.load_base("smol"))
    name = model.new_patch("audio", encoder="mel", lora=pave.LoraSpec(rank=16), seed=0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "patch"
        model.save_patch(folder)

        def ask() -> object:
            return model.ask(video, "What do you hear?", max_new_tokens=1)

        ask()  # what is made once (encoders, look-ups) is not on everybody's way
        asked = follow(ask)
        model.delete_patch(name)
        model.load_patch(folder, name="warm")
        model.delete_patch("warm")
        loaded = follow(lambda: model.load_patch(folder, name="again"))
    return {"`ask` on `smol`, one token": asked, "loading a patch folder": loaded}


def table(found: dict[str, Way]) -> str:
    """Markdown."""
    rows = ["| way | functions | files | changes of file |", "|---|---:|---:|---:|"]
    for name, way in found.items():
        rows.append(f"| {name} | {len(way.calls)} | {way.files} | {way.changes} |")
    return "\n".join(rows)


def main(words: list[str]) -> int:
    """Print the table, and the functions if they are wanted."""
    found = ways()
    print(table(found))
    if "--list" in words:
        for name, way in found.items():
            print(f"\n{name}:")
            print("\n".join(way.functions()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
