"""`own_sampling`: which rule and which numbers `frames="auto"` means for a base."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import tiny
from pave.bases.families import FAMILIES, find_family
from pave.bases.pace import GLM_46, RULES, own_sampling
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
        settings=SimpleNamespace(frames=8, tenths=False),
        origin=SimpleNamespace(source=str(folder)),
    )
    return own_sampling(base)


def test_every_family_is_answered_for():
    names = {find_family(model_type).name for model_type in FAMILIES.names()}
    assert RULES.keys() == names


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
        ("glm4v", {}, Paced("from", fps=2, longest=300)),
        ("glm4v", {VIDEO: {"fps": 1, "max_duration": 12.5, "num_frames": 16}},
         Paced("from", fps=1, longest=12.5)),
        ("minicpm_v", {IMAGE: {"max_num_frames": 64, "stack_frames": 1}},
         Paced("second", count=64)),
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


def test_a_rule_that_is_not_followed_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="stack_frames.*give a number of frames instead of auto"):
        _sampling(tmp_path, "minicpm_v", {VIDEO: {"stack_frames": 5}})


def test_the_glm_that_tells_tenths_has_a_rule_of_its_own():
    """GLM-4.6V, under whatever model type."""
    for model_type, rule in (("glm46v", GLM_46), ("glm4v", RULES["glm4v"])):
        family = find_family(model_type)(SimpleNamespace(model_type=model_type))
        base: Any = SimpleNamespace(
            family=family,
            inputs=SimpleNamespace(frames=None),
            settings=family.settings(),
            origin=None,
        )
        assert own_sampling(base) == rule


def test_a_model_that_was_loaded_elsewhere_has_its_familys_numbers():
    assert own_sampling(tiny.base("qwen2_vl")) == QWEN2
