"""Chat formats read off chat templates: ids equal those of the rendered template, to the last one.

The templates are written for these tests, each in the manner of a published checkpoint's. Those of
`../shared/hub` are read too, where they lie beside the repository.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from helpers import tiny
from pave.bases import Base, find_family, load_base
from pave.bases.prompt import ChatFormat
from pave.bases.template import read_style
from pave.media import Uniform, as_frames, read_frames, write_video
from pave.media.arrays import chosen

HUB = Path(__file__).resolve().parents[3] / "shared" / "hub"
TOKENIZERS = Path(os.environ.get("PAVE_TOKENIZERS", "no such folder"))

PARTS = "{% for part in message['content'] %}"
VIDEO = "{% if part['type'] == 'video' %}"
TEXT = "{% endif %}{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
ASK = "{% if add_generation_prompt %}"

VICUNA = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    + PARTS + VIDEO + "<video>\n" + TEXT + "{{ part['text'] + ' ' }}{% endif %}{% endfor %}"
    "{% endfor %}" + ASK + "ASSISTANT:{% endif %}"
)  # fmt: skip
# In the published one of this manner the end token is misspelt.
MISTRAL = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    + PARTS + VIDEO + "<video>\n" + TEXT + "{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'][0]['text'] + '<\\s> ' }}{% endif %}{% endfor %}"
)  # fmt: skip
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    + PARTS + VIDEO + "VIDEO" + TEXT + "{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}" + ASK + "{{ '<|im_start|>assistant\n' }}{% endif %}"
)  # fmt: skip
SPAN = "<|vision_start|><|video_pad|><|vision_end|>"
SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou see well.<|im_end|>\n' }}{% endif %}"
)
# An answer that is the last has a thought before it, the ones before have none.
THINKING = (
    CHATML.replace("VIDEO", SPAN)
    .replace(PARTS, "{% if message['role'] == 'assistant' and loop.last %}"
             "{{ '<think>\n\n</think>\n\n' }}{% endif %}" + PARTS, 1)
    .replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")
)  # fmt: skip
SPACED = CHATML.replace("VIDEO", "<video>\n").replace(
    "message['role'] + '\n'", "message['role'] + ' '"
)
# Kind -> family, template, what a talk of one turn must read as, its stop token.
KINDS: dict[str, tuple[str, str, str, str]] = {
    "vicuna": ("llava_next_video", VICUNA, "USER: [V]\nWhy? ASSISTANT:", "</s>"),
    "mistral": ("llava_next_video", MISTRAL, "[INST] [V]\nWhy? [/INST]", "</s>"),
    "yi": (
        "llava_next_video",
        CHATML.replace("VIDEO", "<video>\n"),
        "<|im_start|>user\n[V]\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "onevision": (
        "llava_onevision",
        CHATML.replace("VIDEO", "<video>\n"),
        "<|im_start|>user\n[V]\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "onevision, spaced": (
        "llava_onevision",
        SPACED,
        "<|im_start|>user [V]\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "qwen2_vl": (
        "qwen2_vl",
        SYSTEM + CHATML.replace("VIDEO", SPAN),
        "<|im_start|>system\nYou see well.<|im_end|>\n<|im_start|>user\n[V]Why?<|im_end|>\n"
        "<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "thinking": (
        "qwen3_vl",
        THINKING,
        "<|im_start|>user\n[V]Why?<|im_end|>\n<|im_start|>assistant\n<think>\n",
        "<|im_end|>",
    ),
    "internvl": (
        "internvl",
        CHATML.replace("VIDEO", "<video>\n"),
        "<|im_start|>user\n[V]\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "video_llama_3": (
        "video_llama_3",
        CHATML.replace("VIDEO", "<|video_pad|>\n"),
        "<|im_start|>user\n[V]\nWhy?<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
}
TALKS = (
    [("Why?", None)],
    [("Why?", "So."), ("And 2?", None)],
    [("  Why", "a b"), ("\nAnd", "So"), ("1 ", None)],
)


def rendered(
    tokenizer: Any, template: str, video: str, clip: str, turns: list[tuple[str, str | None]]
) -> list[int]:
    """Ids of transformers' own rendering, the video's place filled as its processors fill it."""
    talk: list[dict[str, Any]] = []
    for question, answer in turns:
        talk.append({"role": "user", "content": [{"type": "text", "text": question}]})
        if answer is not None:
            talk.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    talk[0]["content"].insert(0, {"type": "video"})
    text = tokenizer.apply_chat_template(
        talk, chat_template=template, tokenize=False, add_generation_prompt=True
    )
    # A processor leaves BOS to the tokenizer where the template has not written it.
    return list(tokenizer(text.replace(video, clip))["input_ids"])


def base_of(family: str, template: str) -> Base:
    """A tiny base whose tokenizer comes with a template."""
    model = tiny.base(family).model
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return load_base(model, tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_those_of_the_rendered_template(kind: str) -> None:
    """Talks of one to three turns; white space where parts meet, too."""
    family, template, one_turn, stop = KINDS[kind]
    base = base_of(family, template)
    clip = base.clip(tiny.frames(2))
    video = base.family.video_text or base.family.placeholder
    asked = base.encode_prompt(clip.text, TALKS[0]).ask()
    assert base.tokenizer.decode(asked) == one_turn.replace("[V]", clip.text)
    assert base.stop_ids[0] == tiny.token(stop)
    for turns in TALKS:
        own = base.encode_prompt(clip.text, turns).dialogue()
        assert own == rendered(base.tokenizer, template, video, clip.text, turns)


def test_what_is_learnt_is_what_is_generated() -> None:
    """Asked and answered, then the end token; a thought that a template writes is closed."""
    for kind, answer in (
        ("vicuna", " So.</s>"),
        ("mistral", " So.</s>"),
        ("yi", "So.<|im_end|>"),
        ("thinking", "\n</think>\n\nSo.<|im_end|>"),
    ):
        base = base_of(*KINDS[kind][:2])
        prompt = base.encode_prompt("", [("Why?", "So."), ("And?", "Oh.")])
        assert base.tokenizer.decode(prompt.turns[0][1]) == answer
        # In a dialogue each question is asked as it will be.
        asked = KINDS[kind][2].replace("[V]", "").partition("Why?")[2]
        text = base.tokenizer.decode(prompt.dialogue())
        assert text.count(asked) == 2 and text.count(answer.strip().replace("So.", "Oh.")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_a_user_spells_stay_letters(kind: str) -> None:
    """In every turn of a talk."""
    base = base_of(*KINDS[kind][:2])
    turns = [("a<|im_end|>b", "c<video>"), ("d</s>", None)]
    words = base.encode_prompt("", [("ab", "c"), ("d", None)]).dialogue()
    found = base.encode_prompt("", turns).dialogue()
    # One id a byte, and the format's tokens.
    assert len(found) == len(words) + len("<|im_end|><video></s>")
    assert [token for token in found if token > 255] == [token for token in words if token > 255]


def test_templates_that_cannot_be_read_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """The family's own format serves then, and a line says why."""
    own = tiny.base("llava_next_video").style
    for template, why in (
        ("{% for %}", "cannot be rendered"),
        ("{{ raise_exception('no') }}", "cannot be rendered (no)"),
        ("{{ messages[0]['content'][1]['text'] }}", "writes '<video>' 0 times"),
        (CHATML.replace("VIDEO", "<video><video>"), "writes '<video>' 2 times"),
        ("<video>" + VICUNA.replace("<video>", ""), "when there are several"),
        ("x" * 2**21, "2,097,152 characters"),
    ):
        caplog.clear()
        if "several" in why:  # the second turn's closing words tell the two apart
            template = VICUNA.replace(
                "{% endfor %}" + ASK, "{% endfor %}{{ messages|length }}" + ASK
            )
        assert base_of("llava_next_video", template).style == own
        assert why in caplog.text and "built-in format of llava_next_video" in caplog.text
    assert len(caplog.records) == 1


def test_a_template_that_differs_is_told_and_one_that_does_not_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "pave"):
        base_of("llava_next_video", VICUNA)
        assert not caplog.records
        base_of(*KINDS["yi"][:2])
    (record,) = caplog.records
    assert "differs from the built-in format" in record.message and "'<|im_end|>'" in record.message


@pytest.mark.parametrize(
    "place", ["chat_template.json", "chat_template.jinja", "processor_config.json", "tokenizer"]
)
def test_the_folder_says_which(place: str, tmp_path: Path) -> None:
    """Wherever transformers looks for it."""
    base = tiny.base("llava_next_video")
    yi = KINDS["yi"][1]
    if place == "tokenizer":
        base.tokenizer.chat_template = yi
    elif place.endswith("jinja"):
        (tmp_path / place).write_text(yi)
    else:
        (tmp_path / place).write_text(json.dumps({"chat_template": yi}))
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    loaded = load_base(tmp_path, weights=False)
    assert (loaded.style.end, loaded.style.after_video) == ("<|im_end|>", "\n")
    assert loaded.family.style == base.style != loaded.style


def test_the_authors_format_goes_before_the_templates() -> None:
    """A patch that was trained in LLaVA's own format is asked in it."""
    base = base_of(*KINDS["onevision, spaced"][:2])
    own = base.style
    base.use(base.inputs.model_copy(update={"chat": "llava"}))
    assert base.style == base.family.style != own
    base.use()
    assert base.style == own


@pytest.mark.parametrize("family", ["internvl", "llava_next_video", "llava_onevision", "qwen2_vl",
                                    "qwen2_5_vl", "qwen3_vl", "smolvlm"])  # fmt: skip
def test_built_in_formats_are_those_of_the_hub(family: str) -> None:
    """So that nothing changes for those who hold the usual checkpoints, or have no template."""
    folder = HUB / family
    if not folder.is_dir():
        pytest.skip("no folder of templates beside the repository")
    if (folder / "chat_template.json").is_file():
        template = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    else:
        template = (folder / "chat_template.jinja").read_text()
    made = find_family(family)(tiny.base(family).config)
    assert read_style(template, tiny.tokenizer(), made) == made.style


def tokenizers() -> list[Path]:
    """Folders of real tokenizers, where somebody has put some."""
    return sorted(path.parent for path in TOKENIZERS.glob("*/tokenizer.json"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("folder", tokenizers(), ids=lambda path: path.name)
def test_with_real_tokenizers(folder: Path, kind: str) -> None:
    """Merges, spaces that are written in front of text, BOS: the ids stay the template's."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    family, template, _, _ = KINDS[kind]
    made = find_family(family)
    tokens = ["<|im_end|>", "<|im_start|>", "<video>", "<|video_pad|>", "<|vision_start|>"]
    tokens += ["<|vision_end|>", "<IMG_CONTEXT>", "<img>", "</img>"]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens})
    video = made.video_text or made.placeholder
    known: Any = SimpleNamespace(
        placeholder=made.placeholder, video_text=made.video_text, name=family
    )
    style = read_style(template, tokenizer, known)
    chat = ChatFormat(tokenizer, style, made.placeholder)
    clip = tiny.base(family).clip(tiny.frames(2)).text
    talks = [*TALKS, [("What is the man doing with 12 cats?", "He feeds them."), ("Why?", None)]]
    for turns in talks:
        own = chat.encode(clip, turns).dialogue()
        wanted = rendered(tokenizer, template, video, clip, turns)
        assert own == wanted, (turns, tokenizer.decode(own), tokenizer.decode(wanted))


def test_smolvlm_says_how_long_the_video_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its processor writes it: 30 frames at 10 a second are 3 s, though the last is at 2.9."""
    from transformers.models.smolvlm import processing_smolvlm as theirs
    from transformers.video_utils import VideoMetadata

    film = tmp_path / "film.mp4"
    write_video(film, [np.full((48, 64, 3), i, np.uint8) for i in range(30)], 10)
    base = tiny.base("smolvlm")
    clip = base.clip(read_frames(film, Uniform(3)))
    monkeypatch.setattr(theirs, "num2words", {3: "three"}.get)
    processor = object.__new__(theirs.SmolVLMProcessor)
    processor.image_seq_len, processor.image_token = 4, "<image>"
    processor.fake_image_token = "<fake_token_around_image>"
    processor.global_image_token = "<global-img>"
    indices = [round(time * 10) for time in clip.times.tolist()]
    facts = VideoMetadata(total_num_frames=30, fps=10, duration=3.0, frames_indices=indices)
    seen = {"pixel_values": clip.pixels["pixel_values"], "video_metadata": [facts]}
    assert clip.text == processor.replace_video_token(seen, 0)
    assert "from a 0:00:03 [H:MM:SS]" in clip.text
    # Frames of which nobody knows more tell their last second.
    assert "from a 0:00:01 [H:MM:SS]" in base.clip(tiny.frames(3)).text
    # Arrays tell it, and so do some of them.
    whole = as_frames(np.zeros((30, 48, 64, 3), np.uint8), fps=10)
    assert "from a 0:00:03 [H:MM:SS]" in base.clip(chosen(whole, Uniform(3))).text


def test_white_space_before_a_question_is_tokenised_with_it() -> None:
    """Two line breaks end SmolVLM's clip; many tokenizers take the second with the word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # Byte pairs without any merge, but one of two line breaks that stand before white space only.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*letters, "ĊĊ"])}
    inner = Tokenizer(models.BPE(vocabulary, [("Ċ", "Ċ")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.add_special_tokens(["<image>", "<end_of_utterance>", "<|im_start|>"])
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end_of_utterance>")
    chat = ChatFormat(tokenizer, find_family("smolvlm").style, "<image>")
    text = "<|im_start|>User: <image>\n\nWhy?<end_of_utterance>\nAssistant:"
    assert chat.encode("<image>\n\n", [("Why?", None)]).ask() == tokenizer(text)["input_ids"]
    # One id alone, two in front of a word.
    assert len(tokenizer("\n\n")["input_ids"]) == 1 and len(tokenizer("\n\nW")["input_ids"]) == 3
