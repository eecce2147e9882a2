"""Damage to JSON, JSON lines, YAML and other text that knows how they are built."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import yaml
from bytes_edits import EDITS as BYTE_EDITS
from bytes_edits import Edit

Slot = tuple[Any, Any]
"""A list or an object, and the place in it."""

# Texts that stand for what `json.dumps` cannot write: it would not come back from such depth.
RAW = {
    "@deep": "[" * 100_000 + "]" * 100_000,
    "@deep-objects": '{"a":' * 3000 + "0" + "}" * 3000,
    "@nested": "[" * 200 + "]" * 200,
    "@huge": "9" * 5000,
    "@float": "1e999",
    "@digits": "1" + "0" * 400,
}
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, float("nan"), float("inf"), float("-inf"),
    2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 10**30,
    "", " ", "0", "-1", "nan", "null", "a" * 100_000, "\n\r\t", "\x1b[2J\x1b[31m", "\x00", "\x7f",
    "\ud800", "\udfff\ud800", "\u202e", "\u2028", "\ufeff", "\U0001f600" * 100, "%d.png", "%s%n",
    "{question}", "{0.__class__}", "<image>", "<|image_pad|>", "</s>", "..", "../../../etc/passwd",
    "/", "~", "/dev/zero", "/proc/kmsg", "-rf", "*", "a/" * 3000, "http://[", "concat:a|b",
    [], {}, [[]], [None], {"": None}, [1, "a", None, {}], {"id": {}},
)  # fmt: skip


def edit_json(data: bytes, chance: random.Random) -> bytes:
    """Change a JSON text, or a line of JSON lines, as a tree."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return chance.choice(BYTE_EDITS)(data, chance)
    try:
        return _dumped(edit_tree(json.loads(text), chance)).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return _edit_line(text, chance).encode("utf-8", "surrogatepass")


def _edit_line(text: str, chance: random.Random) -> str:
    """One line changed as a tree, where it is JSON; the lines changed as such, where it is not."""
    lines = text.split("\n")
    at = chance.randrange(len(lines))
    try:
        lines[at] = _dumped(edit_tree(json.loads(lines[at]), chance))
    except (ValueError, RecursionError):
        chance.shuffle(lines)
    return "\n".join(lines)


def edit_yaml(data: bytes, chance: random.Random) -> bytes:
    """Change a YAML text as a tree, or by what only YAML has."""
    if chance.random() < 0.25:
        return data + chance.choice(YAML_ENDS)
    try:
        tree = edit_tree(yaml.safe_load(data), chance)
        if chance.random() < 0.5:
            return _dumped(tree).encode("utf-8", "surrogatepass")  # JSON is YAML, mostly
        return yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError, yaml.YAMLError):
        return edit_text(data, chance)


_BOMB = ["\na0: &a0 [x, x, x, x, x, x, x, x, x]\n"]
_BOMB += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)]
YAML_ENDS = (
    "".join(_BOMB).encode(),  # a billion words, if somebody writes them out
    b"\na: &a [*a]\n",
    b"\nx: !!python/object/apply:os.system [exit]\n",
    b"\nx: !!binary '%'\n",
    b"\n\tx: 1\n",
    b"\n--- {}\n",
    b"\n? [a, b]\n: c\n",
    b"\n1: 2\nnull: 3\n",
    b"\nx: 2026-13-45\n",
    b"\nx: " + b"[" * 5000 + b"\n",
    b"\n<<: [1]\n",
    b"\nx: 0x" + b"f" * 5000 + b"\n",
    b"\nx: 1:" + b"60:" * 4000 + b"0\n",
)


def edit_tree(tree: Any, chance: random.Random) -> Any:
    """Change one place of a parsed text."""
    slots = list(_slots(tree))
    if not slots or chance.random() < 0.03:
        return _value(chance)
    inside, at = chance.choice(slots)
    kind = chance.randrange(8)
    if kind == 0:
        del inside[at]
    elif kind == 1:
        inside[at] = chance.choice(([inside[at]], {"a": inside[at]}))
    elif kind == 2:
        inside[at] = _other_type(inside[at], chance)
    elif kind == 3:
        other, there = chance.choice(slots)
        inside[at], other[there] = copy.deepcopy(other[there]), copy.deepcopy(inside[at])
    elif kind == 4 and isinstance(inside, dict):
        inside[chance.choice(("", "x", "id", str(at).upper(), "\x1b[31m", "a.b"))] = inside[at]
    elif kind == 4:
        inside.append(copy.deepcopy(inside[at]))  # a name is there twice
    else:
        inside[at] = _value(chance)
    return tree


def _slots(tree: Any) -> Iterator[Slot]:
    """Every place in a tree that holds something."""
    waiting = [tree]
    while waiting:
        inside = waiting.pop()
        keys = range(len(inside)) if isinstance(inside, list) else ()
        if isinstance(inside, dict):
            keys = list(inside)
        for key in keys:
            yield inside, key
            waiting.append(inside[key])


def _value(chance: random.Random) -> Any:
    """A value that nobody expected."""
    if chance.random() < 0.2:
        return chance.choice(list(RAW))
    return copy.deepcopy(chance.choice(VALUES))


def _other_type(value: Any, chance: random.Random) -> Any:
    """The same content as another type."""
    return chance.choice((str(value), [value], {str(value): value}, repr(value), bool(value)))


def _dumped(tree: Any) -> str:
    """JSON, with what it cannot say of itself put in."""
    text = json.dumps(tree)
    for word, raw in RAW.items():
        text = text.replace(json.dumps(word), raw)
    return text


def edit_text(data: bytes, chance: random.Random) -> bytes:
    """Change a text as editors, shells and other systems do."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    choices = (
        b"\xef\xbb\xbf" + data,
        b"\xff\xfe" + data.decode("utf-8", "replace").encode("utf-16-le"),
        data.replace(b"\n", b"\r\n"),
        data.replace(b"\n", b"\r"),
        data.replace(b'"', b"'"),
        data.replace(b",", b",,", 1),
        data.replace(b" ", b"\xc2\xa0"),
        b"\n".join([*lines[:at], *lines[at + 1 :]]),
        b"\n".join([*lines[:at], lines[at], *lines[at:]]),
        b"\n".join([*lines[:at], chance.choice(LINES), *lines[at:]]),
        data + chance.choice(LINES),
    )
    return chance.choice(choices)


LINES = (
    b"\x00", b"\xed\xa0\x80", b"\xff", b"\xe4", b"#", b"// no", b"[", b"]", b"{}", b"null", b"NaN",
    b"\x1b[2J", "\u2028".encode(), b" " * 100_000, b"1" * 5000, b"[" * 100_000, b'"\\ud800"',
    b"1 2 3", b"nan nan nan nan", b"inf -inf 1e999 x",
)  # fmt: skip

JSON_EDITS: tuple[Edit, ...] = (edit_json, edit_json, edit_json, edit_text)
YAML_EDITS: tuple[Edit, ...] = (edit_yaml, edit_yaml, edit_text)
TEXT_EDITS: tuple[Edit, ...] = (edit_text,)
