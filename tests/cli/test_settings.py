"""A settings file and flags beside it: a dotted flag changes one value of the file's block.

And nothing else of it.
"""

from pathlib import Path
from typing import Any

import pytest
from cyclopts import CycloptsError

from pave.cli.app import make_app
from pave.cli.settings import take_config
from pave.cli.verbs import find_verb
from pave.errors import ConfigError

TRAIN = """
records: r.jsonl
out: runs/a
channel: audio
encoder: mel
encoder_settings: {rate: 8000, deep: {er: [1, 2], est: 3}}
fusion: {heads: 2, hidden: 64}
lora: {rank: 4, alpha: 8}
"""
EVAL = (
    "{records: r.jsonl, out: o, arms: {base: null, patch: runs/a/patch, both: [a/patch, b/patch]}}"
)


def _settings(tmp_path: Path, verb: str, text: str, *flags: str) -> Any:
    """What the verb would be called with."""
    (tmp_path / "settings.yaml").write_text(text)
    words, sources = take_config([verb, "--config", str(tmp_path / "settings.yaml"), *flags])
    app = make_app(find_verb(verb))
    app.config = sources
    _, bound, *_ = app.parse_args(words)
    return bound.arguments["settings"]


FUSION = {"heads": 2, "hidden": 64}
ENCODER = {"rate": 8000, "deep": {"er": [1, 2], "est": 3}}


@pytest.mark.parametrize(
    ("flags", "fusion", "encoder"),
    [
        ((), FUSION, ENCODER),
        (("--fusion.heads", "4", "--lora.rank", "8"), FUSION | {"heads": 4}, ENCODER),
        (("--fusion.dropout=0.1",), FUSION | {"dropout": 0.1}, ENCODER),
        (("--encoder-settings.rate", "16000"), FUSION, ENCODER | {"rate": 16000}),
        (
            ("--encoder_settings.deep.est=null",),
            FUSION,
            ENCODER | {"deep": {"er": [1, 2], "est": None}},
        ),
        (("--encoder-settings.rate.a", "x"), FUSION, ENCODER | {"rate": {"a": "x"}}),
        (("--fusion", '{"heads": 8}'), {"heads": 8}, ENCODER),  # the block as a whole
    ],
)
def test_a_dotted_flag_changes_one_value(
    tmp_path: Path, flags: tuple[str, ...], fusion: object, encoder: object
) -> None:
    settings = _settings(tmp_path, "train", TRAIN, *flags)
    assert settings.fusion == fusion and settings.encoder_settings == encoder
    assert settings.lora.alpha == 8 and settings.lora.rank == (8 if "--lora.rank" in flags else 4)


def test_a_dotted_flag_changes_one_arm(tmp_path: Path) -> None:
    settings = _settings(tmp_path, "eval", EVAL, "--arms.patch", "runs/b/patch", "--arms.c=x,y")
    both = [Path("a/patch"), Path("b/patch")]
    assert settings.arms == {
        "base": None,
        "patch": [Path("runs/b/patch")],
        "both": both,
        "c": [Path("x"), Path("y")],
    }


def test_a_file_without_an_end_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        _settings(tmp_path, "train", "fusion: " + "[" * 5000)


@pytest.mark.parametrize(
    "flags",
    [
        ("--fusion.heads",),
        ("--fusion.heads", "--seed", "3"),
        ("--fusion", '{"heads": 8}', "--fusion.hidden", "32"),
    ],
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with pytest.raises(CycloptsError):
        _settings(tmp_path, "train", TRAIN, *flags)
