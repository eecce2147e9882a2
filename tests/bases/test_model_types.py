"""The page of model types is what transformers has and what pave does with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pave.bases.families import FAMILIES, REFUSED, find_family
from pave.errors import BaseError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "model-types.md"
ROW = re.compile(r"^\| `(\w+)` \| (taken|refused|not looked at) \| (.*?) ?\|$", re.MULTILINE)


def video_types() -> set[str]:
    """Types of models of text and pictures whose code or processor takes videos."""
    import transformers
    from transformers.models.auto import modeling_auto as models
    from transformers.models.auto.configuration_auto import model_type_to_module_name
    from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES

    home = Path(transformers.__file__).parent / "models"
    found = set()
    for model_type in (
        *models.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
        *models.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    ):
        folder = home / model_type_to_module_name(model_type)
        code = "".join(path.read_text() for path in folder.glob("modeling_*.py"))
        if "pixel_values_videos" in code or model_type in VIDEO_PROCESSOR_MAPPING_NAMES:
            found.add(model_type)
    return found


@pytest.mark.slow
def test_the_page_has_every_type_of_transformers() -> None:
    pytest.importorskip("transformers", minversion="5.23")
    rows = ROW.findall(PAGE.read_text())
    listed = {row[0] for row in rows}
    assert listed == video_types(), "look at the new ones, and say so in docs/reference"
    assert {row[0] for row in rows if row[1] == "taken"} == set(FAMILIES.names())


def test_the_page_says_what_pave_does() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) == len({model_type for model_type, *_ in rows})
    for model_type, does, why in rows:
        assert does != "taken" or model_type in FAMILIES.names(), model_type
        assert (does == "refused") == (model_type in REFUSED), model_type
        if does == "refused":
            assert why == REFUSED[model_type]


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        (
            "instructblipvideo",
            "'instructblipvideo' cannot be a base for pave: its tokens come out of a",
        ),
        ("kimi_k25", "belongs to no supported family .*write a Family and register it"),
    ],
)
def test_other_types_are_refused_in_words(model_type: str, message: str) -> None:
    with pytest.raises(BaseError, match=message) as told:
        find_family(model_type)
    assert "\n" not in str(told.value)
