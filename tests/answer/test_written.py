"""Talks of all shapes are what the base's own chat template writes for them.

The right text is transformers' rendering of the same talk. The templates are written for the tests
(`helpers.templates`), each in the manner of a published checkpoint's.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product
from typing import Any

import pytest

from helpers import tiny
from helpers.templates import IN_ORDER, MANNERS, filled
from pave.answer.layout import parts_of
from pave.answer.written import Piece, Shown, SpokenTurn
from pave.bases import Base, load_base
from pave.errors import BaseError, ConfigError

# Texts, clips and pictures of a turn.
SHAPES = ("T", "VT", "TV", "TVT", "VTT", "TT", "VVT", "PT", "TP", "PVT", "VPT", "TPVT")
THOUGHT = "<think>\nhm\n</think>\n\nA."
# What was said before: nothing, a text, a clip and a text; and the answer to it.
PAST = (("", ""), ("T", "A."), ("VT", " A.\n"), ("VT", THOUGHT))
SAID = (("a b", "c d"), ("  a ", "\nc\n"))
KINDS = {"V": "video", "P": "image", "T": "text"}


@lru_cache
def base_of(manner: str) -> Base:
    family, template = MANNERS[manner]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return load_base(tiny.base(family).model, tokenizer)


def marks(base: Base) -> dict[str, str]:
    """What stands for a clip and for a picture; here as long as in the template."""
    video = base.family.video_text or base.family.placeholder
    opened, _, closed = video.partition(base.family.placeholder)
    picture = base.tokenizer.convert_ids_to_tokens(base.config.image_token_id)
    if base.family.name == "glm4v":
        opened, closed = "<|begin_of_image|>", "<|end_of_image|>"
    elif "vision_start" not in opened:
        opened = closed = ""
    return {"V": video, "P": f"{opened}{picture}{closed}"}


def turn(base: Base, shape: str, said: tuple[str, str]) -> tuple[list[Piece], list[dict[str, Any]]]:
    """A turn as pave takes it, and as transformers does."""
    texts = iter(said)
    pieces: list[Piece] = []
    content = []
    for kind in shape:
        if kind == "T":
            pieces.append(next(texts))
            content.append({"type": "text", "text": pieces[-1]})
        else:
            pieces.append(Shown(marks(base)[kind], kind == "P"))
            content.append({"type": KINDS[kind]})
    return pieces, content


def rendered(base: Base, talk: list[dict[str, Any]]) -> str:
    """By transformers; answers as a text where the template wants one."""
    for wanted in (list, str):
        messages = []
        for message in talk:
            content = message["content"]
            if message["role"] == "assistant" and wanted is str:
                content = content[0]["text"]
            messages.append({**message, "content": content})
        text = base.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        if "'type'" not in text:
            return str(text)
    raise AssertionError(text)


@pytest.mark.parametrize("manner", MANNERS)
def test_the_text_is_the_rendered_template(manner: str) -> None:
    base = base_of(manner)
    for (before, answer), shape, said in product(PAST, SHAPES, SAID):
        turns: list[SpokenTurn] = []
        talk = []
        if before:
            pieces, content = turn(base, before, ("first", ""))
            turns.append((pieces, answer))
            talk.append({"role": "user", "content": content})
            talk.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        pieces, content = turn(base, shape, said)
        turns.append((pieces, None))
        talk.append({"role": "user", "content": content})
        if base.family.name == "internvl" and re.search("V.*P", before + shape):
            continue  # its pictures and clips are one list; see below
        assert "".join(parts_of(base, turns)) == rendered(base, talk), (before, shape, said)


@pytest.mark.parametrize("manner", MANNERS)
def test_ids_of_questions_are_those_of_the_text(manner: str) -> None:
    """As training packs turns and `ask` sends them: cut into parts, white space taken off."""
    base = base_of(manner)
    clip = base.clip(tiny.frames(2)).text
    for questions in (("Why?", "And"), ("  Why\n", "\tAnd "), ("a b ", " 1")):
        first, second = questions
        content = turn(base, "VT", (first, ""))[1]
        talk = [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": " So.\n"}]},
            {"role": "user", "content": [{"type": "text", "text": second}]},
        ]
        for turns in ([(first, None)], [(first, " So.\n"), (second, None)]):
            text = rendered(base, talk[: 2 * len(turns) - 1]).replace(marks(base)["V"], clip)
            prompt = base.encode_prompt(clip, turns)
            assert prompt.dialogue() == base.tokenizer(text)["input_ids"], turns
            assert prompt.ask() == base.encode_prompt(clip, [(first, None)]).ask()


@pytest.mark.parametrize("manner", MANNERS)
def test_what_people_spell_stays_letters(manner: str) -> None:
    """Marks of clips and pictures, and control tokens, in questions and answers; none is lost."""
    base = base_of(manner)
    spelt = [*marks(base).values(), base.chat.end, "\ue000"]
    clip = Shown("CLIP")
    words = [([clip, "a"], "b"), ([clip, "c"], None)]
    talk = [([clip, f"a{spelt[0]}"], f"b{spelt[1]}x"), ([clip, "c" + "".join(spelt[2:])], None)]
    plain, own = parts_of(base, words), parts_of(base, talk)
    assert "".join(own).count("CLIP") == 2
    # One id a byte: the letters are the only ones that came along.
    before, after = base.chat.encode_talk(plain), base.chat.encode_talk(own)
    assert [token for token in after if token > 255] == [token for token in before if token > 255]
    letters = len("".join([*spelt, "x"]).encode())
    assert len(after) == len(before) + letters


@pytest.mark.parametrize("manner", [*MANNERS, ""])
def test_what_people_spell_in_two_texts_stays_letters(manner: str) -> None:
    """Templates write the texts of a turn right behind each other; so do built-in formats."""
    base = base_of(manner) if manner else tiny.base("qwen2_vl")
    clip = Shown("CLIP")

    def controls(*texts: str) -> list[int]:
        ids = base.chat.encode_talk(parts_of(base, [([clip, *texts], "so"), (["b"], None)]))
        return [token for token in ids if token > 255]

    expected = controls("a", "b")
    for word in (marks(base)["V"], base.chat.end, "<|im_start|>", "</s>"):
        for cut in (1, len(word) // 2, len(word) - 1):
            assert controls(word[:cut], word[cut:]) == expected, (word, cut)
            assert controls(f"x {word[:cut]} \n", f"  {word[cut:]} y") == expected, (word, cut)
    # Three texts, of which the middle one is the token's middle.
    assert controls("<|", "im_end", "|>") == controls("a", "b", "c")
    text = "".join(parts_of(base, [([clip, "a <", "> b"], None)]))
    assert "a <" in text and "> b" in text  # nothing of it is lost


# Takes a system message for a text, and puts it into the user's turn (LLaMA 2's manner).
INTO_THE_TURN = (
    "{% for message in messages %}{% if message.role == 'user' %}{{ '[INST] ' }}"
    "{% if loop.index0 == 1 and messages[0].role == 'system' %}"
    "{{ '<<SYS>> ' + messages[0].content + ' <</SYS>> ' }}{% endif %}"
    + filled(IN_ORDER, "<video>\n", "<image>\n")
    + "{{ ' [/INST]' }}{% elif message.role == 'assistant' %}"
    "{{ message.content[0].text + '</s>' }}{% endif %}{% endfor %}"
)
WITH_SYSTEM = {**MANNERS, "into the turn": ("llava_onevision", INTO_THE_TURN)}


@pytest.mark.parametrize("manner", WITH_SYSTEM)
def test_a_system_message_is_written_by_the_template(manner: str) -> None:
    """Id for id; what it spells of tokens is letters, and who has no place for one says so."""
    family, template = WITH_SYSTEM[manner]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    base = load_base(tiny.base(family).model, tokenizer)
    pieces, content = turn(base, "VT", ("Why?", ""))
    turns: list[SpokenTurn] = [(pieces, "So."), (["And?"], None)]
    if manner in ("next, mistral", "glm, thinking"):  # these would say it as the assistant
        with pytest.raises(ConfigError, match="has no place for one, so a system message cannot"):
            parts_of(base, turns, system="Be brief.")
        return
    for system in ("Be brief.", " Be\nbrief. "):
        said = [{"type": "text", "text": system}]
        talk = [
            {"role": "system", "content": system if manner == "into the turn" else said},
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": "So."}]},
            {"role": "user", "content": [{"type": "text", "text": "And?"}]},
        ]
        text = rendered(base, talk)
        assert system.strip() in text
        ids = base.chat.encode_talk(parts_of(base, turns, system=system))
        assert ids == base.tokenizer(text)["input_ids"]
    spelt = "".join([*marks(base).values(), base.chat.end])
    longer = base.chat.encode_talk(parts_of(base, turns, system=f"Be{spelt}."))
    plain = base.chat.encode_talk(parts_of(base, turns, system="Be."))
    assert len(longer) == len(plain) + len(spelt.encode())


def test_a_built_in_format_refuses_system_messages() -> None:
    with pytest.raises(ConfigError, match="not read from a chat template, .* user's first message"):
        parts_of(tiny.base(), [(["Why?"], None)], system="Be brief.")


def test_templates_that_leave_something_out_are_refused() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = MANNERS["onevision, in order"][1].replace(
        "{{ '<image>\n' }}", "{{ '' }}"
    )
    base = load_base(tiny.base().model, tokenizer)
    picture = Shown("<image>", picture=True)
    with pytest.raises(BaseError, match="leaves out 1 of the 2 clips and pictures"):
        parts_of(base, [([Shown("<video>"), picture, "a"], None)])
    tokenizer.chat_template = MANNERS["onevision, in order"][1].replace(
        "{{ '<image>\n' }}", "{{ raise_exception('one kind only') }}"
    )
    base = load_base(tiny.base().model, tokenizer)
    with pytest.raises(
        BaseError, match=r"for this conversation, .* cannot be rendered \(one kind only\)"
    ):
        parts_of(base, [([picture, "a"], None)])


def test_one_list_of_clips_and_pictures_keeps_its_order() -> None:
    """InternVL finds them by their places, so a template must not put them otherwise."""
    tokenizer = tiny.tokenizer()
    family, template = MANNERS["next, chatml"]
    tokenizer.chat_template = template.replace("<image>", "<IMG_CONTEXT>")
    base = load_base(tiny.base("internvl").model, tokenizer)
    picture = Shown("<img><IMG_CONTEXT></img>", picture=True)
    assert family == "llava_next_video"
    assert "CLIP" in "".join(parts_of(base, [([picture, Shown("CLIP"), "a"], None)]))
    with pytest.raises(BaseError, match="puts every image first; show them first"):
        parts_of(base, [([Shown("CLIP"), picture, "a"], None)])
