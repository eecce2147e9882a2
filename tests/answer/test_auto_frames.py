"""`frames="auto"`: asking, training and the token cache take what the base's processor would."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

import pave
from helpers import tiny, tinyrun, toy
from pave.answer import asking
from pave.cache import TokenCache
from pave.cli.app import main
from pave.data import Features
from pave.errors import ConfigError
from pave.evaluate import EvalConfig, evaluate
from pave.media import Paced, Uniform
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import TrainConfig, train
from pave.train.estimate_plan import plan

QWEN2 = Paced("step", fps=2, least=4, most=768, multiple=2)


@pytest.fixture
def seen(monkeypatch):
    """How the frames of each clip were chosen to answer."""
    rules = []
    read = asking.read_frames
    monkeypatch.setattr(
        asking, "read_frames", lambda video, rule: rules.append(rule) or read(video, rule)
    )
    return rules


def test_ask(seen, tmp_path):
    model = PatchedModel(tiny.base("qwen2_vl"))
    model.ask(str(toy.frames(tmp_path)), "Hm?", frames="auto", max_new_tokens=1)
    whole = pave.as_frames(np.zeros((12, 32, 32, 3), np.uint8), fps=3)
    model.ask(whole, "Hm?", frames="auto", max_new_tokens=1)
    assert seen == [QWEN2]
    with pytest.raises(ConfigError, match="whole number of at least 1, got 'automatic'"):
        model.ask(whole, "Hm?", frames="automatic")


def test_the_context_is_checked(tmp_path, monkeypatch):
    """Each clip's own number is told, before the tower runs."""
    base = tiny.base("qwen2_vl")
    monkeypatch.setattr(base, "visual", lambda *_, **__: pytest.fail("the tower ran"))
    base.context = 3
    (record,) = toy.records(tmp_path, clips=1, questions=1)
    with pytest.raises(ConfigError, match=r"\d+ frames are too many, use \d+ or fewer"):
        PatchedModel(base).ask(record.video, "Hm?", frames="auto")


def test_a_patch_keeps_the_word(tmp_path, seen):
    toy.records(tmp_path, clips=2, questions=1)
    base = tiny.base("qwen2_vl")
    config = toy.config(tmp_path, frames="auto", steps=1)
    patch = train(config, base=base, progress=False).patch
    assert read_config(patch).frames == "auto"
    model = PatchedModel(base)
    model.load_patch(patch)
    model.ask(str(toy.frames(tmp_path)), "Hm?", max_new_tokens=1)
    assert seen == [QWEN2]
    manifest = json.loads((patch / "patch.json").read_text())
    (patch / "patch.json").write_text(json.dumps(manifest | {"frames": "automatic"}))
    with pytest.raises(pave.PatchError, match="must be auto, or a whole number"):
        read_config(patch)


def test_patches_that_disagree(tmp_path, seen, caplog):
    made = tinyrun.make(tmp_path, clips=1)
    for folder, frames in ((made.patch, "auto"), (made.lora, 5)):
        manifest = json.loads((folder / "patch.json").read_text())
        (folder / "patch.json").write_text(json.dumps(manifest | {"frames": frames}))
    model = PatchedModel(pave.load_base(made.base))
    model.load_patch(made.patch, name="first")
    model.load_patch(made.lora, name="second")
    model.ask(made.loud, "Hm?", max_new_tokens=1)
    assert "trained on 5 and auto frames per clip, so auto frames are used" in caplog.text
    # A LLaVA-OneVision without a number in its files: the base's own number.
    assert seen == [Uniform(model.base.settings.frames)]


def test_eval_follows_the_patches(tmp_path):
    """Asked for nothing, it takes their word; a base without a rule then takes its own number."""
    made = tinyrun.make(tmp_path, clips=1)
    manifest = json.loads((made.patch / "patch.json").read_text())
    (made.patch / "patch.json").write_text(json.dumps(manifest | {"frames": "auto"}))
    config = EvalConfig(
        records=made.records, base=str(made.base), out=tmp_path / "out", plot=False,
        arms={"base": None, "patch": [made.patch]}, max_new_tokens=1,
    )  # fmt: skip
    assert evaluate(config).clips == 1
    identity = "".join(file.read_text() for file in (tmp_path / "out").glob("*.json"))
    assert '"frames": "auto"' in identity


def test_keys_never_mix(tmp_path):
    """One key a rule; where auto means the base's own number, that number's."""
    cache = TokenCache(tmp_path / "store")
    (record,) = toy.records(tmp_path, clips=1, questions=1)

    def key(base, frames):
        return Features(base, {}, cache, frames=frames).visual_key(record.video)

    qwen = tiny.base("qwen2_vl")
    assert len({key(qwen, frames) for frames in ("auto", 2, 4, 768, None)}) == 5 - (
        qwen.settings.frames in (2, 4, 768)
    )
    llava = tiny.base("llava_onevision")
    assert key(llava, "auto") == key(llava, None) == key(llava, llava.settings.frames)


@pytest.mark.parametrize("frames", ["automatic", 0, 1.5, True, 4097, "-3"])
def test_settings_refuse_other_words(frames, tmp_path):
    made = {"records": tmp_path / "r", "out": tmp_path / "o"}
    with pytest.raises(ValidationError, match="must be auto, or a whole number"):
        EvalConfig(**made, base="smol", arms={"base": None}, frames=frames)
    with pytest.raises(ValidationError, match="must be auto, or a whole number"):
        TrainConfig(**made, steps=1, frames=frames)


@pytest.mark.parametrize("frames", ["automatic", "0", "1.5"])
@pytest.mark.parametrize(
    "words",
    [
        ("ask", "gone.mp4", "Hm?"),
        ("chat", "gone.mp4"),
        ("extract", "r.jsonl", "--visual", "--base", "smol", "--cache", "c"),
        ("eval", "--records", "r.jsonl", "--out", "o", "--arms.base", "none"),
        ("train", "--records", "r.jsonl", "--out", "o"),
    ],
)
def test_the_command_line_refuses_in_a_line(words, frames, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--frames", frames]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--frames" in err and "must be auto, or a whole number of at least 1" in err


def test_an_estimate_needs_a_number(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("records: r.jsonl\nout: o\nsteps: 1\nframes: auto\n")
    with pytest.raises(ConfigError, match="give a number to estimate with"):
        plan(str(recipe))
