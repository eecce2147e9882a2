"""Writes docs/reference/python.md, rooms.md and training.md.

python.md has what `import pave` offers, rooms.md what the packages inside offer beside it, and
training.md which settings of peft and of the Hugging Face Trainer a run takes.

    python tools/reference.py            # `make docs` runs it first
    python tools/reference.py --check    # fails where the page is not what would be written

A name that is public and in no section below is an error, so the page is always complete.
"""

from __future__ import annotations

import ast
import json
import pkgutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel

import pave
from pave.patches import LoraSpec
from pave.patches.lora_options import REFUSED as OPTIONS
from pave.patches.lora_options import STARTS
from pave.train import TrainConfig
from pave.train.trainer_fields import FREE_TO_CHANGE, REFUSED, trainer_fields

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
PAGE, ROOMS_PAGE = FOLDER / "python.md", FOLDER / "rooms.md"
TRAINING_PAGE = FOLDER / "training.md"
NOT_PUBLIC = {"cli", "hf_compat"}
"""Packages that are used by command, or by pave alone."""
ROOMS_HEAD = """# Packages

The public names of every package inside pave, for programs that need more than
[`import pave`](python.md) offers. Names that are described elsewhere on these two pages are only
listed.
"""
HEAD = """# Python

This page documents everything that `import pave` offers. Importing pave is fast, because each name
loads what it needs when it is first used. Each subpackage works in the same way: its `__init__`
lists its public names, which [Packages](rooms.md) documents. Other names may change without notice.
"""
TRAINING = """# Training settings

`pave train` takes these settings from a YAML file and from flags. Most are pave's own. The blocks
`trainer` and `lora` reach further, into the Hugging Face Trainer and into peft. A setting that
nobody knows is an error that names the nearest one.

## Settings of pave

{own}

## The block `trainer`

```yaml
trainer:
  optim: adafactor
  lr_scheduler_type: cosine_with_min_lr
  lr_scheduler_kwargs: {{min_lr_rate: 0.1}}
  save_total_limit: 5
```

The block takes these fields of `transformers.TrainingArguments`, whose documentation says what they
do:

{taken}.

An interrupted run may go on with other values of these, because they change nothing of what is
computed:

{free}.

The other fields are refused, because pave has a setting of its own or because they would break
something that it promises:

{refused}

## The block `lora`

{lora}

The other options of peft's `LoraConfig` are refused. A fresh patch gives exactly what the base
gives, its weight can be turned down to zero, and clips without the channel get nothing of it; most
options would break one of these:

{options}

Only starts at exactly zero are taken:

{starts}
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


def rooms_page() -> str:
    """The page of the packages: the names in each `__all__` that the first page does not have."""
    known = {home_of(name) for names in SECTIONS.values() for name in names}
    parts = [ROOMS_HEAD]
    for room, names in rooms().items():
        summary = (import_module(room).__doc__ or "").partition("\n")[0]
        parts.append(f"## {room}\n\n{summary}\n")
        homes = {name: home_in(room, name) for name in names}
        shown = [home for home in homes.values() if home not in known]
        known.update(shown)
        listed = [f"`{name}`" for name, home in homes.items() if home not in shown]
        if listed:
            parts.append(f"Described elsewhere: {', '.join(listed)}.\n")
        if shown:
            parts.append("\n".join(f"::: {home}" for home in dict.fromkeys(shown)) + "\n")
    return "\n".join(parts)


def training_page() -> str:
    """The page of training settings: pave's own, the Trainer's, and peft's."""
    return TRAINING.format(
        own=_fields(TrainConfig),
        taken=_listed(trainer_fields()),
        free=_listed(FREE_TO_CHANGE),
        refused=_table(("Field", "Why not, or what instead"), REFUSED),
        lora=_fields(LoraSpec),
        options=_table(("Option", "Why not"), OPTIONS),
        starts=_table(("`init_lora_weights`", "Why not"), STARTS),
    )


def _fields(settings: type[BaseModel]) -> str:
    """A table of a settings class: name, default, what it is for."""
    rows = ["| Setting | Default | What it is for |", "| --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        default = "" if field.is_required() else field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):  # a block, whose settings have a table of their own
            default = "its own defaults"
        elif not field.is_required():
            default = f"`{json.dumps(default)}`"
        rows.append(f"| `{name}` | {default} | {(field.description or '').replace('|', '/')} |")
    return "\n".join(rows)


def _listed(names: Iterable[str]) -> str:
    """Names in alphabetical order, in lines of a page's length."""
    return textwrap.fill(", ".join(f"`{name}`" for name in sorted(names)), 100)


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    """A table of two columns."""
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    lines += [f"| `{name}` | {why} |" for name, why in rows.items()]
    return "\n".join(lines)


def rooms() -> dict[str, list[str]]:
    """Package -> its public names, sorted."""
    found = {}
    for module in pkgutil.iter_modules(pave.__path__):
        if module.ispkg and module.name not in NOT_PUBLIC:
            room = f"pave.{module.name}"
            found[room] = sorted(getattr(import_module(room), "__all__", []))
    return found


def home_in(room: str, name: str) -> str:
    """Where a name of a package is defined."""
    thing = getattr(import_module(room), name)
    if hasattr(thing, "__qualname__") and getattr(thing, "__module__", "").startswith("pave"):
        return f"{thing.__module__}.{thing.__qualname__}"
    if hasattr(thing, "__path__"):  # a package that is called like its function
        return home_of(f"{room}.{name}")
    # Constants and types of several kinds do not know it: the package's imports do.
    source = Path(str(import_module(room).__file__)).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            # A package takes it from one of its modules in turn.
            module = import_module(str(node.module))
            is_package = hasattr(module, "__path__")
            return home_in(module.__name__, name) if is_package else f"{module.__name__}.{name}"
    return f"{room}.{name}"


def home_of(name: str) -> str:
    """Where a name is defined: the site's builder reads source and does not run it."""
    room, _, last = name.rpartition(".")
    thing = getattr(import_module(room or "pave"), last)
    if hasattr(thing, "__path__"):  # a package that is called like its function
        thing = getattr(thing, last)
    return f"{thing.__module__}.{thing.__qualname__}"


def main(words: list[str]) -> int:
    """Write the pages, or compare them."""
    code = 0
    for file, text in (
        (PAGE, page()),
        (ROOMS_PAGE, rooms_page()),
        (TRAINING_PAGE, training_page()),
    ):
        if "--check" not in words:
            file.write_text(text, encoding="utf-8")
        elif not file.is_file() or file.read_text(encoding="utf-8") != text:
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
