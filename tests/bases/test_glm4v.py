"""GLM-4V: image tokens in a video's place, and two ways to tell a time."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import tiny
from pave.bases import find_family
from pave.bases.settings import read_settings
from pave.bases.template import read_style


def test_image_tokens_are_of_a_video_between_its_marks():
    """As the processor tells them apart, which has one token for both."""
    from transformers import Glm4vProcessor

    base = tiny.base("glm4v")
    clips = tiny.clips(base, (2, 4))
    pictures = [base.placeholder_id] * 3
    asked = [base.encode_prompt(clip.text, [("What?", None)]).ask() for clip in clips]
    ids = base.batch(asked, clips, pad="left")["input_ids"]
    theirs = Glm4vProcessor.__new__(Glm4vProcessor)
    theirs.image_token_id = base.config.image_token_id
    theirs.video_start_id = base.config.video_start_token_id
    theirs.video_end_id = base.config.video_end_token_id
    for rows in (ids.tolist(), [asked[0] + pictures, pictures + asked[0]]):
        wanted = theirs.create_mm_token_type_ids(rows)
        assert base.family.types_of(ids.new_tensor(rows)).tolist() == wanted


@pytest.mark.parametrize(
    ("model_type", "processor", "tenths"),
    [
        ("glm4v", {"video_processor_type": "Glm4vVideoProcessor"}, False),
        ("glm4v", {"video_processor_type": "Glm46VVideoProcessor"}, True),
        ("glm4v_moe", {"processor_class": "Glm46VProcessor"}, True),
        ("glm46v", {}, True),
    ],
)
def test_the_processor_says_how_times_are_told(
    model_type: str, processor: dict[str, str], tenths: bool, tmp_path: Path
):
    """GLM-4.6V is published under the model types of 4.1V and 4.5V too."""
    tower = SimpleNamespace(patch_size=14, spatial_merge_size=2, temporal_patch_size=2)
    family = find_family(model_type)(SimpleNamespace(model_type=model_type, vision_config=tower))
    size = {"shortest_edge": 12544, "longest_edge": 47040000}
    file = tmp_path / "video_preprocessor_config.json"
    file.write_text(json.dumps({"size": size, **processor}))
    settings = read_settings(str(tmp_path), family.settings())
    assert (settings.tenths, settings.max_pixels) == (tenths, 47040000)
    frames = tiny.frames(4, fps=0.6)  # one every 1.67 seconds
    told = family.prepare(settings, frames.pixels, frames.times).text
    image = told.count("<|image|>") // 2
    span = "<|begin_of_image|>" + "<|image|>" * image + "<|end_of_image|>"
    first, second = ("0.0 seconds", "3.3 seconds") if tenths else ("0", "3")
    assert told == f"<|begin_of_video|>{span}{first}{span}{second}<|end_of_video|>"


def test_a_template_that_takes_answers_for_texts():
    """GLM-4.1V's writes a list of parts out as Python does; an answer must not begin with that."""
    template = (
        "[gMASK]<sop>{% for turn in messages %}{{ '<|' + turn.role + '|>\n' }}"
        "{% if turn.role == 'assistant' %}{{ turn.content }}{% else %}"
        "{% for part in turn.content %}{% if part.type == 'video' %}"
        "<|begin_of_video|><|video|><|end_of_video|>{% else %}{{ part.text }}{% endif %}"
        "{% endfor %}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    base = tiny.base("glm4v")
    style = read_style(template, base.tokenizer, base.family)
    own = base.family.style
    assert (style.head, style.ask, style.answer) == (own.head, own.ask, "")
    # An answer ends with the token that opens the next turn, as built in.
    assert (style.end, style.again, style.past_end) == (own.end, own.again, "")
