"""A patch keeps the chat format that it was trained in, and is asked in it."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers import tiny, tiny_patch
from pave.answer import Sampling, questions_about
from pave.bases import Base, PromptStyle, load_base
from pave.bases.template import ChatTemplate
from pave.data import ClipFeatures
from pave.errors import ConfigError, PatchError
from pave.model import PatchedModel
from pave.patches import read_config

OWN = tiny.base().family.style
OTHER = PromptStyle("<s>Q: ", " ", " A:", "<|endoftext|>", "Q: ", " ")


def base(style: PromptStyle | None = None) -> Base:
    """The same weights, whatever the checkpoint's format."""
    plain = tiny.base()
    template = ChatTemplate(style=style)
    return Base(plain.model, plain.tokenizer, plain.family, name="tiny", template=template)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A patch of a base with a format of its own."""
    model = PatchedModel(base(OTHER))
    tiny_patch.add(model)
    return model.save_patch(tmp_path_factory.mktemp("saved") / "audio")


def asked(model: PatchedModel, weights: dict[str, float] | None = None) -> list[int]:
    """Ids of a question about a clip with sound."""
    clip = model.base.clip(tiny.frames(2))
    (visual,) = model.base.visual([clip])
    features = ClipFeatures(clip, visual, {"audio": tiny_patch.tokens()})
    if weights is not None:
        model.set_patches(weights)
    put = questions_about(model, features, [[("Why?", None)]])
    return put.prefix + put.asked[0]


def written(style: PromptStyle) -> list[int]:
    """The question in a format, by a base that has no other."""
    made = base(style)
    return made.encode_prompt(made.clip(tiny.frames(2)).text, [("Why?", None)]).ask()


def test_the_file_says_the_format(saved: Path) -> None:
    config = read_config(saved)
    assert config.chat is not None and config.chat.style == OTHER
    assert json.loads((saved / "patch.json").read_text())["chat"]["version"] == 1
    assert r"`'<s>Q: [video] [question] A: [answer]<\|endoftext\|>'`" in (
        saved / "README.md"
    ).read_text().replace("\\\\", "\\")


def test_a_patch_is_asked_in_its_own_format(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And the base alone in the base's; a line says it once."""
    model = PatchedModel(base())
    name = model.load_patch(saved)
    (record,) = [record for record in caplog.records if "chat format" in record.message]
    assert record.levelno == logging.WARNING and "Q: [video]" in record.message
    assert asked(model) == written(OTHER) != written(OWN)
    assert asked(model, {}) == written(OWN)
    model.set_patches({name: 1.0})
    again = read_config(model.save_patch(saved.parent / "again"))
    assert again.chat is not None and again.chat.style == OTHER  # as trained, whatever the base


def test_answers_end_as_the_patch_learnt_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end token of its format is one of generation's."""
    model = PatchedModel(base())
    model.load_patch(saved, name="audio")
    ends: list[list[int]] = []
    generate = model.generate

    def spied(*args: Any, **kwargs: Any) -> Any:
        ends.append(kwargs["eos_token_id"])
        return generate(*args, **kwargs)

    monkeypatch.setattr(model, "generate", spied)
    sound = {"audio": tiny_patch.tokens()}
    model.ask(tiny.frames(2), "Why?", channels=sound, max_new_tokens=2)
    model.set_patches({})
    model.ask(tiny.frames(2), "Why?", max_new_tokens=2)
    end = tiny.token("<|endoftext|>")
    assert end in ends[0] and end not in ends[1]


def test_a_talk_is_in_the_patchs_format(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later turns, streams and the end token too; without the patch it is in the base's."""
    model = PatchedModel(base())
    model.load_patch(saved, name="audio")
    prompts: list[str] = []
    ends: list[list[int]] = []
    generate = model.generate

    def spied(*args: Any, **kwargs: Any) -> Any:
        prompts.append(model.base.tokenizer.decode(kwargs["input_ids"][0]))
        ends.append(kwargs["eos_token_id"])
        return generate(*args, **kwargs)

    monkeypatch.setattr(model, "generate", spied)
    sound = {"audio": tiny_patch.tokens()}
    clip = {"type": "video", "video": tiny.frames(2), "channels": sound}
    talk: list[dict[str, Any]] = [
        {"role": "user", "content": [clip, {"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "And?"},
    ]
    short = Sampling(2)
    asked_once = model.ask(tiny.frames(2), "Why?", channels=sound, max_new_tokens=2)
    assert model.chat(talk[:1], sampling=short) == asked_once
    model.chat(talk, sampling=short)
    list(model.chat(talk, sampling=short, stream=True))
    model.chat(talk, sampling=short, patches={})
    places = "<video>" * model.base.clip(tiny.frames(2)).text.count("<video>")
    first = f"<s>Q: {places} Why? A:"
    assert prompts[:2] == [first, first]
    assert prompts[2:4] == [f"{first} So.<|endoftext|>Q: And? A:"] * 2
    assert prompts[4].startswith("<|im_start|>user") and "Q:" not in prompts[4]
    end = tiny.token("<|endoftext|>")
    assert [end in found for found in ends] == [True, True, True, True, False]


def test_nothing_is_said_where_formats_agree(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = PatchedModel(base(OTHER))
    model.load_patch(saved)
    assert "chat format" not in caplog.text and asked(model) == written(OTHER)


def test_patches_in_two_formats_are_not_asked_together(saved: Path) -> None:
    model = PatchedModel(base())
    name = model.load_patch(saved, name="other")
    tiny_patch.add(model)
    with pytest.raises(ConfigError, match="other and audio were trained in different chat formats"):
        asked(model)
    assert asked(model, {name: 1.0}) == written(OTHER)
    assert asked(model, {"audio": 1.0}) == written(OWN)


def test_older_patches_are_asked_in_the_bases_format(saved: Path, tmp_path: Path) -> None:
    folder = rewritten(saved, tmp_path, None)
    model = PatchedModel(base())
    model.load_patch(folder)
    assert asked(model) == written(OWN)


@pytest.mark.parametrize(
    ("chat", "wrong"),
    [
        ({"version": 2, "style": {}}, "version"),
        ({"version": 1, "style": {"head": "x" * 20_000}}, "at most 16384 characters"),
        ({"version": 1, "style": {"learnt": ["x"] * 65}}, "at most 64 items"),
        ({"version": 1, "style": {"heads": "x"}}, "heads"),
        ({"version": 1, "style": {"end": 3}}, "end"),
    ],
)
def test_files_are_not_trusted(saved: Path, tmp_path: Path, chat: Any, wrong: str) -> None:
    chat["style"] = {**vars(OTHER), **chat["style"]}
    folder = rewritten(saved, tmp_path, chat)
    with pytest.raises(PatchError, match=wrong) as error:
        PatchedModel(base()).load_patch(folder)
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def rewritten(saved: Path, folder: Path, chat: Any) -> Path:
    """A copy that says another format, or none."""
    for path in saved.rglob("*"):
        if path.is_file():
            target = folder / path.relative_to(saved)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
    said = json.loads((folder / "patch.json").read_text())
    said.pop("chat")
    if chat is not None:
        said["chat"] = chat
    (folder / "patch.json").write_text(json.dumps(said))
    return folder


def test_runs_tell_formats_apart() -> None:
    """What older runs had goes without saying."""
    assert base().prompt_identity() == {}
    other = base(OTHER).prompt_identity()
    assert other.keys() == {"chat"} and other == base(replace(OTHER)).prompt_identity()
    assert other != base(replace(OTHER, ask=" B:")).prompt_identity()
    assert load_base(tiny.base().model, tiny.tokenizer()).prompt_identity() == {}
