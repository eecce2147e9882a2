"""A patch carries the number of frames that it was trained on; `ask` and `eval` take as many."""

from __future__ import annotations

import json
import logging

import pytest

import pave
from helpers import tiny, tinyrun, toy
from pave.answer import asking
from pave.errors import ConfigError
from pave.evaluate import EvalConfig, evaluate
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import train


@pytest.fixture
def seen(monkeypatch):
    """How many frames of each clip were read to answer."""
    counts: list[int] = []
    read = asking.read_frames

    def noted(video, sampling):
        counts.append(sampling.count)
        return read(video, sampling)

    monkeypatch.setattr(asking, "read_frames", noted)
    return counts


def _with_frames(folder, frames):
    """As if the patch had been trained on so many frames."""
    manifest = json.loads((folder / "patch.json").read_text())
    (folder / "patch.json").write_text(json.dumps(manifest | {"frames": frames}))


def test_training_writes_them(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    patch = train(toy.config(tmp_path, frames=3, steps=1), base=tiny.base(), progress=False).patch
    assert read_config(patch).frames == 3


def test_an_older_patch_says_them_in_its_summary(tmp_path):
    made = tinyrun.make(tmp_path, clips=1)
    file = made.patch / "patch.json"
    manifest = json.loads(file.read_text())
    assert "frames" not in manifest
    for training, frames in (({"frames": 6}, 6), ({"frames": "6"}, None), ({"frames": 0}, None)):
        file.write_text(json.dumps(manifest | {"training": training}))
        assert read_config(made.patch).frames == frames


def test_ask_takes_them(tmp_path, seen, caplog):
    made = tinyrun.make(tmp_path, clips=1)
    _with_frames(made.patch, 3)
    _with_frames(made.lora, 5)
    model = PatchedModel(pave.load_base(made.base))
    own = model.base.settings.frames
    first = model.load_patch(made.patch, name="first")
    model.ask(made.loud, "Hm?", max_new_tokens=1)
    model.ask(made.loud, "Hm?", frames=2, max_new_tokens=1)
    with model.disable_patches():
        model.ask(made.loud, "Hm?", max_new_tokens=1)
    assert seen == [3, 2, own]
    second = model.load_patch(made.lora, name="second")
    with caplog.at_level(logging.WARNING):
        model.ask(made.loud, "Hm?", max_new_tokens=1)
    assert "trained on 3 and 5 frames per clip, so 5 frames are used" in caplog.text
    model.set_patches({first: 1.0, second: 0.0})
    model.ask(made.loud, "Hm?", max_new_tokens=1)
    assert seen[3:] == [5, 3]


def test_eval_takes_them_for_every_arm(tmp_path):
    made = tinyrun.make(tmp_path, clips=2)
    _with_frames(made.patch, 3)
    arms = {"base": None, "sound": [made.patch], "lora": [made.lora]}
    config = EvalConfig(
        records=made.records, base=str(made.base), out=tmp_path / "out", arms=arms, plot=False,
        max_new_tokens=2,
    )  # fmt: skip
    report = evaluate(config)
    assert report.settings["frames"] == 3
    _with_frames(made.lora, 5)
    other = config.model_copy(update={"out": tmp_path / "other"})
    with pytest.raises(ConfigError, match=r"different numbers of frames \(sound-1: 3; lora-1: 5\)"):
        evaluate(other)
    assert evaluate(other.model_copy(update={"frames": 4})).settings["frames"] == 4
