"""What was measured on every family: the table of docs/reference/families.md.

    python tools/families.py            # the table
    python tools/families.py --write    # and into the page

Each family is the real class of transformers with tiny sizes and random weights, saved to a folder
and loaded from it as anybody's base is. Cells come from `pave.testing.check_base`, and from
comparisons with Hugging Face's own files where they are here: frames and texts of its processors
(tests/data/preprocess/goldens.json), chat templates and weight names of published checkpoints
(folder `hub` in PAVE_HUB). A cell that could not be had says so.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from safetensors import safe_open

from pave.bases import Base, load_base
from pave.bases.loading import QUANTIZE
from pave.bases.prompt import ChatFormat
from pave.bases.quantised import PACKAGES
from pave.bases.template import read_style
from pave.errors import BaseError, printable
from pave.testing import check_base, tiny_base, tiny_frames
from pave.testing.tiny_models import FAMILIES

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "families.md"
GOLDENS = ROOT / "tests" / "data" / "preprocess" / "goldens.json"
HUB = Path(os.environ.get("PAVE_HUB") or ROOT.parent / "shared" / "hub")
BEGIN, END = "<!-- table: python tools/families.py --write -->", "<!-- end of the table -->"
NOT_HAD = "-"
BAR = "\\|"
# Row of `check_base` -> column of the page.
COLUMNS = {
    "loads": "loads",
    "chat format": "format",
    "stop tokens": "stop",
    "visual tokens": "tokens",
    "context": "context",
    "tower": "tower",
    "logits": "cached",
    "greedy answers": "greedy",
    "fresh patch": "fresh patch",
    "training": "trains",
}


def measure(family: str, folder: Path) -> tuple[dict[str, str], str]:
    """Column -> cell of one family, and what `pave check` says of it.

    Args:
        family: A model type of the tiny models.
        folder: For its files.
    """
    made = tiny_base(family)
    made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    if (template := _published_template(HUB / family)) is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    base = load_base(folder, settings=made.settings, name=made.name)
    cells = {}
    said = ["| check | found |", "|---|---|"]
    for check in check_base(base):
        cells[COLUMNS[check.name]] = _word(check.passed)
        # Folded lines and a bar would tear the table.
        said.append(f"| {check.name} | {printable(check.found).replace('|', BAR)} |")
    cells["loads"] = _loads(made, base)
    cells["names"] = _names(family, folder)
    cells["template"] = _template(family, base)
    cells["pixels"] = _pixels(family, base.family.name)
    for word in QUANTIZE:
        cells[word] = _quantised(made, folder, word)
    return cells, "\n".join(said)


def _word(passed: bool | None) -> str:
    if passed is None:
        return NOT_HAD
    return "yes" if passed else "**no**"


def _loads(made: Base, base: Base) -> str:
    """Every weight as it was saved."""
    before = made.model.state_dict()
    after = base.model.state_dict()
    same = [name for name, weight in before.items() if weight.equal(after[name])]
    if len(same) == len(before):
        return "yes"
    return f"**{len(same)} of {len(before)}**"


def _names(family: str, folder: Path) -> str:
    """Weight names of a published checkpoint that a saved folder has too, numbers left out."""
    published = HUB / family / "weight_names.json"
    if not published.is_file():
        return NOT_HAD
    wanted = set(json.loads(published.read_text("utf-8")))
    found = set()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - no mapping
                found.add(re.sub(r"\.\d+\.", ".N.", name))
    return f"{len(wanted & found)} of {len(wanted)}"


def _template(family: str, base: Base) -> str:
    """Ids of two turns, ours and those of the published template as transformers renders it."""
    template = _published_template(HUB / family)
    if template is None:
        return NOT_HAD
    tokenizer = base.tokenizer
    known = base.family
    style = read_style(template, tokenizer, known)
    text = base.clip(tiny_frames(2)).text
    chat = ChatFormat(tokenizer, style, base.family.placeholder)
    ours = chat.encode(text, [("Why?", "So."), ("And?", None)]).dialogue()
    talk = []
    for role, word in (("user", "Why?"), ("assistant", "So."), ("user", "And?")):
        talk.append({"role": role, "content": [{"type": "text", "text": word}]})
    talk[0]["content"].insert(0, {"type": "video"})
    shown = tokenizer.apply_chat_template(
        talk, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    video = known.video_text or known.placeholder
    return _word(ours == tokenizer(shown.replace(video, text))["input_ids"])


def _published_template(folder: Path) -> str | None:
    old = folder / "chat_template.json"
    if old.is_file():
        return str(json.loads(old.read_text("utf-8"))["chat_template"])
    new = folder / "chat_template.jinja"
    return new.read_text("utf-8") if new.is_file() else None


def _pixels(family: str, name: str) -> str:
    """Clips whose pixels and text a test holds against Hugging Face's own processor.

    Args:
        family: A model type.
        name: Of its family; a mixture of experts has the processor of the dense model.
    """
    rows = json.loads(GOLDENS.read_text("utf-8"))["rows"]
    count = sum(golden["family"] == family for golden in rows)
    if not count:
        count = sum(golden["family"] == name for golden in rows)
    return f"{count} clips" if count else NOT_HAD


def _quantised(made: Base, folder: Path, word: str) -> str:
    """A patch on the base with quantised weights: exact as it is made, and trained."""
    if find_spec(PACKAGES[word]) is None:
        return NOT_HAD
    try:
        base = load_base(folder, settings=made.settings, quantize=word)
    except BaseError:
        return "refused"
    rows = {check.name: check.passed for check in check_base(base)}
    return _word(rows["fresh patch"] and rows["training"])


def table(families: Sequence[str]) -> str:
    """All families as a table of Markdown, and what `pave check` says of each."""
    columns = ["loads", "names", "template", "pixels", *list(COLUMNS.values())[1:], *QUANTIZE]
    lines = ["| family | " + " | ".join(columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    details = []
    for family in families:
        with tempfile.TemporaryDirectory() as folder:
            cells, said = measure(family, Path(folder))
        row = [cells[name] for name in columns]
        lines.append(f"| `{family}` | " + " | ".join(row) + " |")
        details.append(f"### {family}\n\n{said}")
    checks = "\n\n".join(details)
    return "\n".join(lines) + f"\n\n## What `pave check` says of each\n\n{checks}"


def main(words: list[str]) -> int:
    """Print the page's measured part; with --write put it into the page as well."""
    found = table(FAMILIES)
    print(found)
    if "--write" in words:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        _, _, after = rest.partition(END)
        PAGE.write_text(f"{before}{BEGIN}\n\n{found}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
