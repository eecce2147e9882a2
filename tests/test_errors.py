"""What an error says: one line of bounded length that a terminal shows and never obeys."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import tiny, tinyrun
from pave.errors import PatchError, PaveError
from pave.model import PatchedModel


def test_a_message_is_one_line() -> None:
    assert str(PaveError("a\x1b[31m\nb\x9b\u202ec")) == "a\\u001b[31m b\\u009b\\u202ec"
    assert str(PaveError("half a joint \u200c of Persian, \u65e5\u672c")).count("\u200c") == 1
    assert str(PaveError()) == ""


def test_a_message_is_short_and_keeps_what_to_do() -> None:
    text = str(PaveError(f"{'x' * 100_000}; download it again"))
    assert len(text) < 2100
    assert text.startswith("xx") and text.endswith("xx; download it again")


@pytest.mark.parametrize("name", ["patch.json", "lora/adapter_config.json"])
@pytest.mark.parametrize("word", ["\x1b[2J\nno", "x" * 100_000])
def test_words_of_a_patch_from_elsewhere(tmp_path: Path, name: str, word: str) -> None:
    base = tiny.base()
    folder = tinyrun.patch(base, tmp_path / "p", "audio")
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | {word: word}))
    with pytest.raises(PatchError) as caught:
        PatchedModel(base).load_patch(folder)
    text = str(caught.value)
    assert len(text) < 2100 and text.isprintable()
