"""Talks: what they say is what plain transformers says to the same text and pixels.

The text is written out here as the chat templates of the published checkpoints have it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

import pave
from helpers import tiny, tiny_patch
from helpers.templates import MANNERS
from pave.answer import Sampling
from pave.answer.layout import parts_of, text_opening
from pave.answer.messages import turns_of
from pave.answer.written import Shown
from pave.bases import load_base
from pave.bases.prompt import PromptStyle
from pave.errors import ConfigError, PaveError
from pave.model import PatchedModel

HUB = Path(os.environ.get("PAVE_HUB") or Path(__file__).resolve().parents[3] / "shared" / "hub")
FILMS = (tiny.frames(4, seed=1), tiny.frames(4, seed=2))
FAMILIES = ("llava_onevision", "qwen2_5_vl", "internvl", "smolvlm")
SHORT = Sampling(6)

# How a text turn, a later one, and clips in them are written: (before the first turn's content,
# before a later one's, what joins clips, what joins clip and text, before a text alone, what closes
# it and asks for an answer, what stands before an answer that was given, and behind it).
WRITTEN = {
    "llava_onevision": (
        "<|im_start|>user ", "<|im_start|>user ", "", "\n", "\n",
        "<|im_end|><|im_start|>assistant\n", "<|im_end|><|im_start|>assistant \n", "<|im_end|>",
    ),
    "qwen2_5_vl": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
        "<|im_start|>user\n", "", "", "",
        "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n",
    ),
    "internvl": (
        "<|im_start|>user\n", "<|im_start|>user\n", "\n", "\n", "",
        "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n",
    ),
    "smolvlm": (
        "<|im_start|>User: ", "User: ", "", "", "", "<end_of_utterance>\nAssistant:",
        "<end_of_utterance>\nAssistant: ",
        "<end_of_utterance>\n",
    ),
}  # fmt: skip

Talk = Sequence[tuple[Sequence[int], str, str | None]]
"""Turns: numbers of the films shown, the text, the answer."""

ONE: Talk = [((0,), "What?", None)]
TWO: Talk = [((0, 1), "Which is louder?", None)]
LATER: Talk = [((0,), "What?", "A dog."), ((), "Why?", "No."), ((1,), "And here?", None)]
TEXT: Talk = [((), "Hello?", "Yes."), ((), "Who are you?", None)]


def spelt(ids: Sequence[int]) -> str:
    """An answer as ids: the text of random bytes is mostly U+FFFD."""
    return " ".join(map(str, ids))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PatchedModel:
    """With an awake patch."""
    made = PatchedModel(tiny.base(request.param))
    tiny_patch.add(made)
    made.base.decode = spelt
    return made


@lru_cache
def untouched(family: str) -> Any:
    return tiny.base(family)


def messages(talk: Talk) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for films, text, answer in talk:
        parts: list[dict[str, Any]] = [{"type": "video", "video": FILMS[f]} for f in films]
        said.append({"role": "user", "content": [*parts, {"type": "text", "text": text}]})
        if answer is not None:
            said.append({"role": "assistant", "content": answer})
    return said


def written(family: str, talk: Talk, clips: Sequence[str]) -> str:
    """The text of a talk, clips in it."""
    first, later, between, joint, alone, ask, past_ask, behind = WRITTEN[family]
    text = ""
    for number, (films, said, answer) in enumerate(talk):
        text += later if number else first
        text += between.join(clips[film] for film in films) + (joint if films else alone)
        text += said + ask if answer is None else said + past_ask + answer + behind
    return text


def plain(family: str, talk: Talk) -> str:
    """Plain transformers: ids of the text, pixels of its clips, greedy."""
    base = untouched(family)
    clips = [base.clip(film) for film in FILMS]
    ids = base.tokenizer(
        written(family, talk, [clip.text for clip in clips]), add_special_tokens=False
    )["input_ids"]
    given = base.batch([ids])
    shown = [clips[film] for films, _, _ in talk for film in films]
    for key in shown[0].pixels if shown else ():
        given[key] = torch.cat([clip.pixels[key] for clip in shown])
    out = base.model.generate(
        **given, max_new_tokens=6, do_sample=False, eos_token_id=base.stop_ids, pad_token_id=0
    )[0, len(ids) :].tolist()
    end = next((i for i, token in enumerate(out) if token in base.stop_ids), len(out))
    return spelt(out[:end])


@pytest.mark.parametrize("talk", [ONE, TWO, LATER, TEXT], ids=["one", "two", "later", "text"])
def test_a_talk_is_that_of_transformers(model: PatchedModel, talk: Talk) -> None:
    family = model.base.family.name
    wanted = plain(family, talk)
    with model.disable_patches():
        assert model.chat(messages(talk), sampling=SHORT) == wanted
        pieces = model.chat(messages(talk), sampling=SHORT, stream=True)
    # Here its channel is missing, hence the patch is off; and it was off when the stream began.
    assert model.chat(messages(talk), sampling=SHORT) == wanted
    ids = [int(token) for token in wanted.split()]
    assert "".join(pieces) == model.base.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_one_turn_is_ask(model: PatchedModel) -> None:
    tokens = tiny_patch.tokens(4)
    asked = model.ask(FILMS[0], "What?", channels={"audio": tokens}, max_new_tokens=6)
    part = {"type": "video", "video": FILMS[0], "channels": {"audio": tokens}}
    said = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
    assert model.chat(said, sampling=SHORT) == asked
    assert asked != plain(model.base.family.name, ONE)
    assert model.chat(said, sampling=SHORT, patches={}) == plain(model.base.family.name, ONE)


def test_each_clip_has_its_own_channels(model: PatchedModel) -> None:
    """As forward adds them: clip by clip, in the order of the talk."""
    base, sides = model.base, [{"audio": tiny_patch.tokens(4, seed=n)} for n in range(2)]
    parts = [
        {"type": "video", "video": film, "channels": side}
        for film, side in zip(FILMS, sides, strict=True)
    ]
    said = [{"role": "user", "content": [*parts, {"type": "text", "text": "Which?"}]}]
    clips = [base.clip(film) for film in FILMS]
    text = written(base.family.name, [((0, 1), "Which?", None)], [clip.text for clip in clips])
    ids = base.tokenizer(text, add_special_tokens=False)["input_ids"]
    given: dict[str, Any] = base.batch([ids])
    for key in clips[0].pixels:
        given[key] = torch.cat([clip.pixels[key] for clip in clips])
    times = [clip.times for clip in clips]
    row = model.generate(
        **given, channels=sides, times=times, max_new_tokens=6, do_sample=False,
        eos_token_id=base.stop_ids, pad_token_id=0,
    )[0, len(ids) :].tolist()  # fmt: skip
    end = next((i for i, token in enumerate(row) if token in base.stop_ids), len(row))
    assert model.chat(said, sampling=SHORT) == spelt(row[:end])


def test_draws_and_beams_of_a_talk(model: PatchedModel) -> None:
    said = messages(TWO)
    drawn = Sampling(4, temperature=1.0, top_k=9, n=2, seed=3)
    assert model.chat(said, sampling=drawn) == model.chat(said, sampling=drawn)
    assert len(model.chat(said, sampling=Sampling(4, beams=2, n=2))) == 2


def test_a_patch_without_channel_answers_text() -> None:
    made = PatchedModel(tiny.base())
    said = messages(TEXT)
    bare = made.chat(said, sampling=SHORT)
    tiny_patch.add(made, None, name="lora")
    tiny_patch.add(made, "audio")
    heard = made.chat(said, sampling=SHORT)
    assert heard != bare
    assert made.chat(said, sampling=SHORT, patches={"audio": 1.0}) == bare


def test_what_people_spell_is_text() -> None:
    """In questions and in answers; letters are those of the same text with other letters."""
    base = tiny.base()
    spelt = [(("a<video>b<|im_end|>",), "<image></s>"), (("c",), None)]
    ids = base.chat.encode_talk(parts_of(base, spelt))
    controls = [token for token in ids if token >= 256]
    names = base.tokenizer.convert_ids_to_tokens(controls)
    turn = ["<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"]
    assert names == [*turn, *turn[:3]]
    assert base.tokenizer.decode(ids) == "".join(parts_of(base, spelt))


def test_ids_are_those_of_the_clip_alone(model: PatchedModel) -> None:
    """What training packs and `ask` sends is what a talk sends."""
    base = model.base
    clip = base.clip(FILMS[0])
    dialogue = [("What?", "A <image>."), ("Why <video>?", None)]
    turns = [((Shown(clip.text), "What?"), "A <image>."), (("Why <video>?",), None)]
    assert (
        base.chat.encode_talk(parts_of(base, turns))
        == base.encode_prompt(clip.text, dialogue).dialogue()
    )


def test_a_conversation_is_the_same_talk_and_looks_once(
    model: PatchedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    monkeypatch.delitem(vars(model.base), "decode")
    visual = model.base.visual
    monkeypatch.setattr(
        model.base, "visual", lambda *args, **options: looks.append(1) or visual(*args, **options)
    )
    talk = pave.Conversation(model, SHORT)
    first = talk.say("What?", video=FILMS[0])
    second = "".join(talk.stream("Why?"))
    third = talk.say([{"type": "text", "text": "And?"}])
    assert looks == [1]
    assert [message["role"] for message in talk.messages] == ["user", "assistant"] * 3
    assert [message["content"] for message in talk.messages[1::2]] == [first, second, third]
    assert model.chat(talk.messages[:1], sampling=SHORT) == first
    assert model.chat(talk.messages[:3], sampling=SHORT) == second
    assert model.chat(talk.messages[:5], sampling=SHORT) == third
    with pytest.raises(PaveError):
        talk.say("", video=FILMS[0])
    assert len(talk.messages) == 6
    # Whoever leaves a stream has what was told.
    pieces = pave.Conversation(model, Sampling(500, temperature=2.0, seed=0))
    taken = pieces.stream("What?", video=FILMS[0])
    told = next(taken)
    taken.close()
    assert pieces.messages[-1]["content"] == told


def test_a_system_message_in_every_way_to_ask() -> None:
    """The ids are compared in `test_written.py`; here that each way hands it on."""
    family, template = MANNERS["onevision, in order"]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    base = load_base(tiny.base(family).model, tokenizer)
    base.decode = spelt  # type: ignore[method-assign]
    made = PatchedModel(base)
    part = {"type": "video", "video": FILMS[0]}
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [part, {"type": "text", "text": "What?"}]},
    ]
    answer = made.chat(talk, sampling=SHORT)
    ids = base.tokenizer.apply_chat_template(
        [{**talk[0], "content": [{"type": "text", "text": "Be brief."}]}, talk[1]],
        tokenize=False,
        add_generation_prompt=True,
    )
    clip = base.clip(FILMS[0])
    inputs = base.batch([base.tokenizer(ids.replace("<video>", clip.text))["input_ids"]], [clip])
    row = base.model.generate(
        **inputs, max_new_tokens=6, do_sample=False, eos_token_id=base.stop_ids, pad_token_id=0
    )[0, inputs["input_ids"].shape[1] :].tolist()
    end = next((i for i, token in enumerate(row) if token in base.stop_ids), len(row))
    assert answer == spelt(row[:end])
    assert answer != made.chat(talk[1:], sampling=SHORT)
    options: Any = {"system": "Be brief.", "sampling": SHORT}
    assert made.ask(FILMS[0], "What?", **options) == answer
    assert made.ask(FILMS[0], ["What?", "What?"], **options) == [answer] * 2
    conversation = pave.Conversation(made, SHORT, system="Be brief.")
    assert conversation.say("What?", video=FILMS[0]) == answer
    conversation.say("Why?")
    assert [message["role"] for message in conversation.messages] == [
        "system", "user", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert (
        made.chat(conversation.messages[:-1], sampling=SHORT)
        == (conversation.messages[-1]["content"])
    )


def test_openings_of_formats() -> None:
    """What stands before a text alone, told from what a clip stands behind."""
    ask = ("</s>assistant\n", "</s>")
    assert text_opening(PromptStyle("system\n<u>user\n", "", *ask, "\n<u>user\n")) == ""
    assert text_opening(PromptStyle("<u>user ", "\n", *ask, "<u>user \n")) == "\n"
    assert text_opening(PromptStyle("<u>", "\n", *ask, "\n")) == ""


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([], "messages are a list"),
        ("Hello?", "messages are a list"),
        ([{"role": "user"}], "message 1: must be a mapping with 'role' and 'content'"),
        ([{"role": "system", "content": "Be brief."}], "the last message must be the user's"),
        ([{"role": "system", "content": 1}], "message 1: the system's content must be a string"),
        (
            [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}],
            "message 2: a system message must be the first",
        ),
        ([{"role": "system", "content": "a"}] * 2, "message 2: a system message must be the first"),
        ([{"role": "assistant", "content": "Hi."}], "expected user, got 'assistant'"),
        ([{"role": "user", "content": "a"}] * 2, "message 2: .* expected assistant"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "last message"),
        ([{"role": "user", "content": 3}], "content must be a string or a list of parts"),
        ([{"role": "user", "content": " "}], "text must be a non-empty string"),
        ([{"role": "user", "content": "\ud800"}], "cannot be written as UTF-8"),
        ([{"role": "user", "content": [{"type": "sound"}]}], "type text, video or image"),
        ([{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}], "holds no text"),
        ([{"role": "user", "content": [{"type": "video"}]}], "must name one video"),
        ([{"role": "user", "content": [{"type": "video", "url": "x"}]}], "has no field 'url'"),
        ([{"role": "user", "content": [{"type": "image", "fps": 1}]}], "has no field 'fps'"),
        (
            [{"role": "user", "content": [{"type": "video", "video": "a", "fps": 2}]}],
            "are for arrays of frames",
        ),
        (
            [{"role": "user", "content": "a"}, {"role": "assistant", "content": 1}],
            "message 2: the assistant's content must be a string",
        ),
    ],
)
def test_messages_of_a_wrong_kind(messages: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        turns_of(messages)


@pytest.mark.skipif(not HUB.is_dir(), reason="no files of the hub here")
@pytest.mark.parametrize("talk", [ONE, TWO, LATER, TEXT], ids=["one", "two", "later", "text"])
@pytest.mark.parametrize("folder", sorted(HUB.iterdir()) if HUB.is_dir() else [], ids=str)
def test_the_text_is_that_of_published_templates(folder: Path, talk: Talk) -> None:
    base = untouched(folder.name)
    file = folder / "chat_template.json"
    if file.is_file():
        template = json.loads(file.read_text())["chat_template"]
    else:
        template = (folder / "chat_template.jinja").read_text()
    rendered = base.tokenizer.apply_chat_template(
        [
            {**message, "content": [{"type": "text", "text": message["content"]}]}
            if message["role"] == "assistant"
            else message
            for message in messages(talk)
        ],
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    mark = {"smolvlm": "<video>", "internvl": "<video>"}.get(folder.name, "")
    video = mark or base.family.placeholder
    if base.family.mrope:
        video = f"<|vision_start|>{video}<|vision_end|>"
    turns = [((*[Shown(video) for _ in films], text), answer) for films, text, answer in talk]
    assert "".join(parts_of(base, turns)) == rendered
