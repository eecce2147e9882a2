"""A run that starts from a patch or a checkpoint has its weights, and is a run of its own."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import yaml

from helpers import tiny, toy
from pave.errors import ConfigError, PatchError, TrainError
from pave.model import PatchedModel
from pave.patches import LoraSpec, read_config
from pave.train import train
from pave.train.origin import origin_of
from pave.train.start import make_encoders

STILL = {"lr_lora": 1e-30, "lr_fusion": 1e-30, "lr_gate": 1e-30}
"""Rates so small that no float32 weight of a trained patch moves."""
CHANNEL = {
    "encoder": "file",
    "encoder_settings": {"dim": toy.DIM, "rate": 2.0},
    "fusion": {"hidden": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def base():
    return tiny.base()


@pytest.fixture(scope="module")
def patch(base, tmp_path_factory):
    """A patch with random weights, of the kind that `toy.config` trains."""
    model = PatchedModel(base)
    model.new_patch("features", name="p", lora=LoraSpec(rank=4, alpha=8, dropout=0.3), **CHANNEL)
    with torch.no_grad():
        for parameter in model.trainable_parameters().values():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    folder = tmp_path_factory.mktemp("patches") / "p"
    model.save_patch(folder, name="p", training={"steps": 7})
    model.unpatch()
    return folder


def _planned(base, config):
    """What `train` does before it encodes clips."""
    patched = PatchedModel(base)
    try:
        origin = origin_of(config, base)
        make_encoders(patched, [], config, origin)
        return origin
    finally:
        patched.unpatch()


def test_what_must_agree_is_said_in_a_line_each(base, patch, tmp_path):
    def config(**overrides):
        return toy.config(tmp_path, start_from=str(patch), **overrides)

    # Dropout is of a training alone, and rates and prompts are free.
    assert _planned(base, config(prompt="Say: {question}")).steps == 7
    for overrides, said in (
        ({"channel": None}, "channels is features there and none here"),
        ({"lora__rank": 8}, "lora.rank is 4 there and 8 here"),
        ({"lora__alpha": 16}, "lora.alpha is 8 there and 16 here"),
        ({"lora": None}, "lora.rank is 4 there and None here"),
        ({"fusion__hidden": 32}, "features.fusion.hidden is 16 there and 32 here"),
        ({"encoder_settings__rate": 4.0}, r"features.encoder.settings.rate is 2.0 there and 4.0"),
    ):
        with pytest.raises(ConfigError, match=said) as error:
            _planned(base, config(**overrides))
        assert str(patch) in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(PatchError, match="with other weights"):
        _planned(tiny.base(seed=1), config())
    with pytest.raises(ConfigError, match="aligned start would replace"):
        config(align_steps=5)
    with pytest.raises(PatchError, match="no patch folder"):
        _planned(base, toy.config(tmp_path, start_from=str(tmp_path / "nothing")))


def test_a_run_folder_and_a_half_checkpoint_are_no_origin(base, tmp_path):
    run = tmp_path / "old"
    checkpoint = run / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    with pytest.raises(ConfigError, match="is a run folder; name its patch"):
        _planned(base, toy.config(tmp_path, start_from=str(run)))
    (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": 3}))
    with pytest.raises(TrainError, match="incomplete or damaged"):
        _planned(base, toy.config(tmp_path, start_from=str(checkpoint)))


def test_the_fresh_patch_gets_every_weight_to_the_bit(base, patch, tmp_path):
    config = toy.config(tmp_path, start_from=str(patch))
    patched = PatchedModel(base)
    try:
        patched.new_patch("features", name="patch", lora=config.lora, seed=1, **CHANNEL)
        origin_of(config, base).fill(patched)
        patched.save_patch(tmp_path / "again", name="patch")
    finally:
        patched.unpatch()
    for name in ("fusion.safetensors", "lora/adapter_model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (patch / name).read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_from_a_patch_and_from_a_checkpoint(tmp_path):
    toy.records(tmp_path, clips=3, questions=1)
    settings = {"save_every": 2, "batch_clips": 1, "lr_gate": 0.05, "lr_lora": 0.01}
    first = train(toy.config(tmp_path, "first", steps=4, **settings), base=tiny.base())
    for name, source in (
        ("patch", first.patch),
        ("checkpoint", tmp_path / "first" / "checkpoints" / "checkpoint-4"),
    ):
        # A step that moves nothing: what is saved is what it started with.
        config = toy.config(tmp_path, f"still-{name}", steps=1, start_from=str(source), **STILL)
        still = train(config, base=tiny.base(), progress=False)
        assert toy.weights(still.patch) == toy.weights(first.patch)
        said = read_config(still.patch).training["start_from"]
        assert (said["name"], said["steps"]) == (source.name, 4)
        note = json.loads((config.out / "run.json").read_text())
        assert said["sha256"] in note["start_from"].values()
        assert yaml.safe_load((config.out / "settings.yaml").read_text())["start_from"]

    # It trains on, is resumed as any run, and does not go on from another origin.
    other = toy.records(tmp_path, clips=5, questions=2)
    config = toy.config(tmp_path, "more", steps=2, start_from=str(first.patch), **settings)
    more = train(config, base=tiny.base(), progress=False)
    assert toy.weights(more.patch) != toy.weights(first.patch) and len(other) == 10
    assert train(config, base=tiny.base(), progress=False).resumed_from == 2
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(first.patch, elsewhere)
    moved = config.model_copy(update={"start_from": str(elsewhere)})
    assert train(moved, base=tiny.base(), progress=False).resumed_from == 2
    changed = config.model_copy(update={"start_from": str(more.patch)})
    with pytest.raises(TrainError, match="other start_from"):
        train(changed, base=tiny.base(), progress=False)
