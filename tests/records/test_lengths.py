"""Records that are longer than a base's context are refused early: by features, training, eval."""

from __future__ import annotations

import pytest

from helpers import tiny, tinyrun, toy
from pave.bases import load_base
from pave.cache import TokenCache
from pave.data import Features, Record, Turn
from pave.data.lengths import must_fit
from pave.errors import ConfigError, RecordError
from pave.evaluate import EvalConfig, evaluate
from pave.model import PatchedModel
from pave.train import train


@pytest.fixture
def blind(monkeypatch):
    """A base whose tower must not run."""

    def make(family="llava_onevision"):
        base = tiny.base(family)
        monkeypatch.setattr(base, "visual", lambda *_, **__: pytest.fail("the tower ran"))
        return base

    return make


def _dialogue(turns):
    record = Record(id="r", video="v.mp4", turns=[Turn(question=q, answer=a) for q, a in turns])
    return record, [(turn.question, turn.answer) for turn in record.turns]


@pytest.mark.parametrize("over", [0, 1])
def test_a_dialogue_is_measured_to_the_token(over):
    """One token more than the context is too long, though no turn by itself is."""
    base = tiny.base()
    clip = base.clip(tiny.frames(2))
    record, turns = _dialogue([("Why?", "So.")] * 5)
    base.context = len(base.encode_prompt(clip.text, turns).dialogue()) - over
    if not over:
        must_fit(base, clip, record, turns)
        return
    with pytest.raises(RecordError, match=f"record r: .* {base.context + 1} tokens, 9 of them"):
        must_fit(base, clip, record, turns)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_short_records_are_never_tokenised(family, monkeypatch):
    """What is said of letters is no less than what the tokenizer makes of them."""
    base = tiny.base(family)
    clip = base.clip(tiny.frames(3))
    record, turns = _dialogue([("Wärum?", "Sö."), ("<video> So?", "\N{SNOWMAN}")])
    tokens = len(base.encode_prompt(clip.text, turns).dialogue())
    tokenised = []
    encode = base.encode_prompt
    monkeypatch.setattr(base, "encode_prompt", lambda *a: tokenised.append(1) or encode(*a))
    must_fit(base, clip, record, turns)
    assert not tokenised
    base.context = tokens
    must_fit(base, clip, record, turns)
    base.context = tokens - 1
    with pytest.raises(RecordError, match="longer than the"):
        must_fit(base, clip, record, turns)


def test_too_many_frames_are_refused_before_any_is_read(blind, tmp_path):
    base = blind()
    with pytest.raises(ConfigError, match="4,097 tokens.*1,024 frames are too many, use 1,023 or"):
        Features(base, {}, TokenCache(tmp_path), frames=1024)
    Features(base, {}, TokenCache(tmp_path), frames=1023)


def test_a_clip_that_is_too_long_never_meets_the_tower(blind, tmp_path):
    """Where its size decides how many tokens it has."""
    (record,) = toy.records(tmp_path, clips=1, questions=1)
    base = blind("qwen2_vl")
    base.context = 7  # 4 frames: 2 steps of 2 x 2 tokens
    with pytest.raises(RecordError, match="8 tokens, 8 of them .* 4 frames are too many, use 3 or"):
        Features(base, {}, TokenCache(tmp_path / "store"), frames=4).precompute([record])


def test_ask_refuses_before_the_tower_and_the_encoders_run(blind, tmp_path):
    base = blind()
    model = PatchedModel(base)
    base.context = 16
    with pytest.raises(ConfigError, match="17 tokens.*4 frames are too many, use 3 or fewer"):
        model.ask(str(toy.frames(tmp_path)), "What?", frames=4)


def test_ask_refuses_a_question_that_is_too_long(tmp_path, monkeypatch):
    model = PatchedModel(tiny.base())
    monkeypatch.setattr(model.base.model, "generate", lambda *_, **__: pytest.fail("generated"))
    with pytest.raises(ConfigError, match="17 of them visual.*shorter questions"):
        model.ask(str(toy.frames(tmp_path)), "What?" * 1000, frames=4)


def test_training_refuses_before_its_first_step(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    base = tiny.base()
    config = toy.config(tmp_path, steps=1)
    clip = base.clip(tiny.frames(4))
    base.context = len(base.encode_prompt(clip.text, [("What", "dog")]).dialogue())
    with pytest.raises(RecordError, match="record 1-0: .* use fewer frames, or shorter"):
        train(config, base=base, progress=False)  # its answer is "horse"
    assert not list((tmp_path / "run").glob("**/checkpoint-*"))
    assert not (tmp_path / "run" / "patch").exists()
    base.context = 16
    with pytest.raises(ConfigError, match="4 frames are too many"):
        train(toy.config(tmp_path, out="other", steps=1), base=base, progress=False)


def test_eval_refuses_before_its_first_answer(tmp_path, monkeypatch):
    made = tinyrun.make(tmp_path, clips=2)
    base = load_base(made.base)
    monkeypatch.setattr(base.model, "generate", lambda *_, **__: pytest.fail("generated"))
    config = EvalConfig(
        records=made.records, base=str(made.base), out=tmp_path / "out", arms={"base": None},
        frames=4, plot=False,
    )  # fmt: skip
    base.context = 4 * 4 + 1 + 1  # the clip, its newline, and a token
    with pytest.raises(RecordError, match="record .* 17 of them visual, .* than the 18 that"):
        evaluate(config, base=base)
    base.context = 16
    with pytest.raises(ConfigError, match="4 frames are too many"):
        evaluate(config.model_copy(update={"out": tmp_path / "other"}), base=base)
