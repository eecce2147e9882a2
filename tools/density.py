"""How densely each room of the library is written, and the check that it does not get denser.

    python tools/density.py            # the table
    python tools/density.py --check    # fails where a room is denser than tools/density.json allows
    python tools/density.py --write    # records what is measured as what is allowed

Five figures a room: tokens a code line (Python's `tokenize`, without comments, docstrings and blank
lines); comprehensions, conditional expressions and comments per 1,000 code lines; and how many
comprehensions or conditionals stand inside another one of their kind. Code that is
read at the first pass has some 5 to 8 tokens a line, 7 to 23 comprehensions, 3 to 14 conditionals
and 54 comments or more (measured over model2vec, torchtune's modules, colpali, torchcodec, peft and
nanochat).
"""

from __future__ import annotations

import ast
import io
import json
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("pave", "pave_world")
ALLOWED = Path(__file__).with_name("density.json")
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LIMITS = {"tokens_a_line": 8.5, "comprehensions": 25.0, "conditionals": 14.0, "nested": 0.0}
LIMITS |= {"comments": 60.0}
"""What the library as a whole keeps to."""
SLACK = 1.01
"""A room may be one per cent above its record: a line more or less must not fail a build."""


@dataclass
class Density:
    """Counts of some files.

    Attributes:
        lines: All lines, blank ones too.
        code: Lines that hold code.
        tokens: Tokens on them.
        comprehensions: List, set and dict comprehensions and generator expressions.
        conditionals: `a if b else c`.
        nested: Comprehensions in comprehensions, and conditionals in conditionals.
        comments: Comments, those behind code counted.
    """

    lines: int = 0
    code: int = 0
    tokens: int = 0
    comprehensions: int = 0
    conditionals: int = 0
    nested: int = 0
    comments: int = 0

    def add(self, other: Density) -> None:
        """Take another file in."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def figures(self) -> dict[str, float]:
        """The figures, rounded as they are recorded."""
        code = max(1, self.code)
        return {
            "tokens_a_line": round(self.tokens / code, 2),
            "comprehensions": round(1000 * self.comprehensions / code, 1),
            "conditionals": round(1000 * self.conditionals / code, 1),
            "nested": float(self.nested),
            "comments": round(1000 * self.comments / code, 1),
        }


def measure(path: Path) -> Density:
    """The counts of one file."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    found = Density(lines=text.count("\n"))
    documentation = docstring_lines(tree)
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            found.comments += 1
        if token.type in LAYOUT or token.start[0] in documentation:
            continue
        found.tokens += 1
        code.update(range(token.start[0], token.end[0] + 1))
    found.code = len(code)
    for node in ast.walk(tree):
        found.comprehensions += isinstance(node, COMPREHENSIONS)
        found.conditionals += isinstance(node, ast.IfExp)
        for kind in (COMPREHENSIONS, ast.IfExp):
            if isinstance(node, kind):
                inside = [inner for inner in ast.walk(node) if isinstance(inner, kind)]
                found.nested += len(inside) - 1
    return found


def docstring_lines(tree: ast.Module) -> set[int]:
    """Lines of docstrings, those under a module's or a class's attributes too."""
    found: set[int] = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for statement in body or ():
            if not isinstance(statement, ast.Expr) or statement.end_lineno is None:
                continue
            if isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
                found.update(range(statement.lineno, statement.end_lineno + 1))
    return found


def measure_rooms() -> dict[str, Density]:
    """Room -> its counts; files beside the rooms are one room, `pave/.`."""
    rooms: dict[str, Density] = {}
    for package in PACKAGES:
        for path in sorted((ROOT / "src" / package).rglob("*.py")):
            parts = path.relative_to(ROOT / "src").parts
            room = "/".join(parts[:2]) if len(parts) > 2 else f"{package}/."
            rooms.setdefault(room, Density()).add(measure(path))
    return rooms


def total_of(rooms: dict[str, Density]) -> Density:
    """All rooms together."""
    total = Density()
    for density in rooms.values():
        total.add(density)
    return total


def table(rooms: dict[str, Density]) -> str:
    """The figures as Markdown, the whole library last."""
    head = "room | lines | code | tokens a line | comprehensions | conditionals | nested | comments"
    rows = [f"| {head} |"]
    rows.append("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, density in [*rooms.items(), ("**all**", total_of(rooms))]:
        values = " | ".join(str(value) for value in density.figures().values())
        rows.append(f"| {name} | {density.lines} | {density.code} | {values} |")
    return "\n".join(rows)


def complaints(rooms: dict[str, Density], allowed: dict[str, dict[str, float]]) -> list[str]:
    """What is denser than allowed, a line each."""
    found = []
    for name, density in [*rooms.items(), ("all", total_of(rooms))]:
        limits = allowed.get(name, LIMITS)
        for figure, value in density.figures().items():
            limit = limits[figure]
            # Of comments there should be more, of everything else less.
            worse = value * SLACK < limit if figure == "comments" else value > limit * SLACK
            if worse:
                found.append(f"{name}: {figure.replace('_', ' ')} {value}, recorded {limit}")
    return found


def main(words: list[str]) -> int:
    """Print, check or record."""
    rooms = measure_rooms()
    if "--write" in words:
        allowed = {name: density.figures() for name, density in rooms.items()}
        allowed["all"] = LIMITS
        ALLOWED.write_text(json.dumps(allowed, indent=1) + "\n", encoding="utf-8")
        return 0
    if "--check" not in words:
        print(table(rooms))
        return 0
    found = complaints(rooms, json.loads(ALLOWED.read_text(encoding="utf-8")))
    for line in found:
        print(f"density: {line} (python tools/density.py --write records it, if it has to be)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
