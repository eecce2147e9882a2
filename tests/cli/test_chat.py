"""`pave chat`, and `pave ask` with streams and files of questions."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import pave
from helpers import tinyrun
from pave.answer import Sampling
from pave.model import PatchedModel


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tinyrun.Run:
    return tinyrun.make(tmp_path_factory.mktemp("run"), clips=2)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, run: Any) -> Any:
    """Run a command with lines on its input."""

    def said(*words: Any, text: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        return run(*words)

    return said


def model_of(made: tinyrun.Run) -> PatchedModel:
    model = PatchedModel(pave.load_base(made.base))
    model.load_patch(made.patch)
    return model


def spelt(text: str) -> str:
    """As a terminal gets it."""
    from pave.errors import printable

    return printable(text)


def test_a_talk_on_a_pipe_is_that_of_python(made: tinyrun.Run, said: Any) -> None:
    words = ("chat", made.loud, "--base", made.base, "--patch", made.patch, "--max-new-tokens", 6)
    code, out, err = said(*words, text="What?\n\nWhy?\n/quit\nNever asked\n")
    talk = pave.Conversation(model_of(made), Sampling(6))
    wanted = [talk.say("What?", video=made.loud), talk.say("Why?")]
    assert (code, out) == (0, "".join(f"{spelt(answer)}\n" for answer in wanted))
    assert "> " not in err  # nobody is asked on a pipe


def test_text_alone_and_what_is_refused(made: tinyrun.Run, said: Any) -> None:
    base = ("--base", made.base, "--max-new-tokens", 3)
    code, out, _ = said("chat", *base, text="Hello?\n")
    assert code == 0 and out.count("\n") == 1
    assert said("chat", *base, text="")[:2] == (0, "")
    picture = said("chat", "--image", made.loud, *base, text="What?\n")
    assert picture[0] == 2 and picture[2].count("\n") == 1
    for words in (
        ("chat", *base, "--n", 2),
        ("chat", "nothing.mp4", *base),
        ("chat", *base, "--channel", "audio=x.wav"),
        ("chat", *base, "--frames", 0),
    ):
        code, out, err = said(*words, text="Hello?\n")
        assert (code, out, err.count("\n")) == (2, "", 1), words


def test_ctrl_c_ends_a_talk(made: tinyrun.Run, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(self: Any, content: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pave.Conversation, "stream", pressed)
    assert said("chat", "--base", made.base, text="Hello?\n")[0] == 0


def test_a_streamed_answer_is_the_answer(made: tinyrun.Run, said: Any) -> None:
    words = ("ask", made.loud, "What?", "Why?", "--base", made.base, "--max-new-tokens", 6)
    whole = said(*words, "--patch", made.patch)
    assert said(*words, "--patch", made.patch, "--stream") == whole
    assert whole[0] == 0
    assert said(*words, "--stream", "--json")[0] == 2
    assert said(*words, "--stream", "--beams", 2)[0] == 2


def test_a_file_of_questions(made: tinyrun.Run, said: Any, tmp_path: Path) -> None:
    """A bad line stops nobody, and what is finished is not asked again."""
    questions, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    loud = {"video": str(made.loud)}
    rows: list[Any] = [
        {"id": "a", **loud, "turns": [{"question": "What?"}]},
        {"id": "gone", "video": "gone.mp4", "turns": [{"question": "What?"}]},
        {"id": "odd", **loud},
        {"id": "b", **loud, "turns": [{"question": "What?", "answer": "A."}, {"question": "Why?"}]},
        {"id": "c", **loud, "turns": [{"question": "Hm?"}, {"question": "Why?"}]},
    ]
    questions.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    words = ("ask", "--batch", questions, "--out", out, "--base", made.base, "--patch", made.patch)
    words = (*words, "--max-new-tokens", 6)
    code, told, err = said(*words)
    assert code == 2 and "3 answered, 0 answered before, 2 failed" in told
    assert f"{questions}:3: turns" in err and "gone: " in err and err.count("\n") == 2
    model = model_of(made)
    answers = {row["id"]: row["turns"] for row in map(json.loads, out.read_text().splitlines())}
    assert answers["a"] == [
        {"question": "What?", "answer": model.ask(made.loud, "What?", max_new_tokens=6)}
    ]
    talk = pave.Conversation(model, Sampling(6))
    first = talk.say("Hm?", video=made.loud)
    assert [turn["answer"] for turn in answers["c"]] == [first, talk.say("Why?")]
    assert answers["b"][0] == {"question": "What?", "answer": "A."} and len(answers) == 3
    # A kill within the last line, and a mended record: only these two are asked.
    whole = out.read_text()
    out.write_text(whole[:-9])
    rows[1]["video"] = str(made.loud.with_name("clip1.mp4"))
    del rows[2]
    questions.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    code, told, err = said(*words)
    assert code == 0, err
    assert "2 answered, 2 answered before, 0 failed" in told
    again = {row["id"]: row["turns"] for row in map(json.loads, out.read_text().splitlines())}
    assert again == answers | {"gone": again["gone"]}
    assert said(*words)[:2] == (0, f"0 answered, 4 answered before, 0 failed; answers in {out}\n")


def test_files_that_are_refused(made: tinyrun.Run, said: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "a"}\n')
    base = ("--base", made.base)
    for words in (
        ("ask", "--batch", made.records, *base),
        ("ask", "--out", other, *base),
        ("ask", made.loud, "--batch", made.records, "--out", tmp_path / "o", *base),
        ("ask", "--batch", tmp_path / "gone", "--out", tmp_path / "o", *base),
        ("ask", "--batch", made.records, "--out", other, *base),
        ("ask", "--batch", made.records, "--out", tmp_path / "o", *base, "--max-new-tokens", 0),
    ):
        code, out, err = said(*words)
        assert (code, out, err.count("\n")) == (2, "", 1), words
