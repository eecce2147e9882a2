"""Writes docs/reference/python.md: every name that `import pave` offers, by what it is for.

    python tools/reference.py            # `make docs` runs it first
    python tools/reference.py --check    # fails where the page is not what would be written

A name that is public and in no section below is an error, so the page is always complete.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pave

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "python.md"
HEAD = """# Python

This page documents everything that `import pave` offers. Importing pave is fast, because each name
loads what it needs when it is first used. Each subpackage works in the same way: its `__init__`
lists its public names. Names that are not on this page may change without notice.
"""
SECTIONS = {
    "Ask": ("load_base", "PatchedModel", "Conversation", "Sampling", "Frames", "as_frames"),
    "Bases": ("Base", "InputSpec"),
    "Train": ("train", "TrainConfig", "LoraSpec"),
    "Extract": ("extract", "ExtractConfig"),
    "Evaluate": ("evaluate", "EvalConfig"),
    "Records": ("Record", "Turn", "read_records", "write_records"),
    "Channels and tokens": ("Tokens", "Encoder", "make_encoder", "register_encoder"),
    "The fusion": ("Fusion", "FusionConfig", "register_fusion"),
    "Families": ("Family", "register_family"),
    "Tasks": ("register_task",),
    "For plug-ins' tests": (
        "pave.testing.tiny_base",
        "pave.testing.check_encoder",
        "pave.testing.check_family",
        "pave.testing.check_fusion",
    ),
    "The authors' formats": ("pave.paper.convert", "pave.paper.annotations.read_annotations"),
    "Costs": ("pave.train.estimate.estimate",),
    "Errors": (
        "PaveError",
        "ConfigError",
        "MediaError",
        "ChannelError",
        "RecordError",
        "BaseError",
        "PatchError",
        "TrainError",
    ),
}


def page() -> str:
    """The page's text.

    Raises:
        SystemExit: If a public name is in no section.
    """
    named = {name for names in SECTIONS.values() for name in names}
    left_out = set(pave.__all__) - named - {"__version__"}
    if left_out:
        sys.exit(f"tools/reference.py: no section for {', '.join(sorted(left_out))}")
    parts = [HEAD]
    for title, names in SECTIONS.items():
        entries = "\n".join(f"::: {home_of(name)}" for name in names)
        parts.append(f"## {title}\n\n{entries}\n")
    return "\n".join(parts)


def home_of(name: str) -> str:
    """Where a name is defined: the site's builder reads source and does not run it."""
    room, _, last = name.rpartition(".")
    thing = getattr(import_module(room or "pave"), last)
    if hasattr(thing, "__path__"):  # a package that is called like its function
        thing = getattr(thing, last)
    return f"{thing.__module__}.{thing.__qualname__}"


def main(words: list[str]) -> int:
    """Write the page, or compare it."""
    text = page()
    if "--check" in words:
        return int(PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
