"""`own_sampling`: which rule and which numbers `frames="auto"` means for a base."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import tiny
from pave.bases.families import FAMILIES, find_family
from pave.bases.pace import RULES, UNKNOWN, own_sampling
from pave.errors import BaseError, ConfigError
from pave.media import Paced, Uniform

VIDEO, IMAGE, BOTH = (
    "video_preprocessor_config.json",
    "preprocessor_config.json",
    "processor_config.json",
)
QWEN2 = Paced("step", fps=2, least=4, most=768, multiple=2)


def _sampling(folder: Path, family: str, files: dict[str, Any]) -> Paced | Uniform:
    """For a base of the family in a folder that holds these files."""
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    base: Any = SimpleNamespace(
        family=SimpleNamespace(name=family),
        name="it",
        inputs=SimpleNamespace(frames=None),
        settings=SimpleNamespace(frames=8),
        origin=SimpleNamespace(source=str(folder)),
    )
    return own_sampling(base)


def test_every_family_is_answered_for():
    """By a rule, or by a word that pave has none."""
    names = {find_family(model_type).name for model_type in FAMILIES.names()}
    assert RULES.keys() | set(UNKNOWN) == names


@pytest.mark.parametrize(
    ("family", "files", "sampling"),
    [
        ("qwen2_vl", {}, QWEN2),
        ("qwen2_vl", {IMAGE: {"temporal_patch_size": 4, "max_frames": 12}},
         Paced("step", 2, None, 4, 12, 4)),
        ("qwen2_5_vl", {VIDEO: {"fps": 1.5, "do_sample_frames": False}, IMAGE: {"fps": 9}},
         Paced("step", 1.5, None, 4, 768, 2)),
        ("qwen3_vl", {BOTH: {"video_processor": {"num_frames": 6, "fps": None}}, VIDEO: {"fps": 9}},
         Paced("round", None, 6, 4, 768)),
        ("smolvlm", {IMAGE: {"video_sampling": {"fps": 2, "max_frames": 20}, "fps": 9}},
         Paced("inside", 2, 20)),
        ("gemma4", {}, Paced("floor", count=32)),
        ("gemma4", {VIDEO: {"fps": 1}}, Paced("floor", fps=1)),
        ("llava_onevision", {IMAGE: {"temporal_patch_size": 2}}, Uniform(8)),
        ("llava_onevision", {VIDEO: {"num_frames": 16}}, Paced("floor", count=16)),
        ("internvl", {}, Uniform(8)),
        ("a_plugin", {VIDEO: {"fps": 1}}, Uniform(8)),
    ],
)  # fmt: skip
def test_the_file_wins_over_the_family(tmp_path, family, files, sampling):
    """The file that transformers reads, and no other one."""
    assert _sampling(tmp_path, family, files) == sampling


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"fps": 2, "num_frames": 8}, "exclude each other"),
        ({"fps": 0}, "fps must be a positive number, got 0"),
        ({"max_frames": "many"}, "max_frames must be a positive number, got 'many'"),
    ],
)
def test_damaged_numbers(tmp_path, content, said):
    with pytest.raises(BaseError, match=f"{VIDEO}: .*{said}"):
        _sampling(tmp_path, "qwen3_vl", {VIDEO: content})


@pytest.mark.parametrize("family", UNKNOWN)
def test_a_rule_that_is_not_followed_is_refused(tmp_path, family):
    with pytest.raises(ConfigError, match="give a number of frames, not auto"):
        _sampling(tmp_path, family, {})


def test_a_model_that_was_loaded_elsewhere_has_its_familys_numbers():
    assert own_sampling(tiny.base("qwen2_vl")) == QWEN2
