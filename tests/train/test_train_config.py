"""Settings: from YAML and overrides, every mistake named."""

from __future__ import annotations

import pytest
import yaml

from pave.errors import ConfigError
from pave.train import TrainConfig, load_config

GOOD = {"records": "r.jsonl", "out": "o"}


def test_file_and_overrides(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "records: r.jsonl\nout: o\nchannel: audio\nencoder: mel\nlora: {rank: 8}\nsteps: 5\n"
    )
    config = load_config(path, {"lora.alpha": 3, "fusion.layers": 1, "steps": 7})
    assert (config.lora.rank, config.lora.alpha, config.fusion, config.steps) == (
        8,
        3,
        {"layers": 1},
        7,
    )
    assert str(config.patch_folder) == "o/patch"
    assert str(config.cache_folder) == "o/cache"
    assert TrainConfig.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "out: is missing"),
        ({"out": "o"}, "set the training records: records for one file, mixture for several"),
        ({**GOOD, "lr": 1}, "lr: there is no such field"),
        ({**GOOD, "recods": 1}, r"no such field \(did you mean 'records'\?\)"),
        ({**GOOD, "lora": {"rnk": 1}}, "lora.rnk"),
        ({**GOOD, "steps": 1, "epochs": 1}, "not both"),
        ({**GOOD, "channel": "audio"}, "a channel needs an encoder"),
        ({**GOOD, "lora": None}, "nothing to train"),
        ({**GOOD, "prompt": "Say it."}, "must contain {question} once"),
        ({**GOOD, "precision": "fp8"}, "precision"),
        ({**GOOD, "seed": -1}, "seed"),
        ({**GOOD, "seed": 2**32}, "seed"),
        *(({**GOOD, "epochs": number}, "epochs") for number in (float("inf"), float("nan"), 1e300)),
        *(
            ({**GOOD, name: float("inf")}, name)
            for name in ("lr_lora", "lr_fusion", "lr_gate", "weight_decay")
        ),
        *(
            ({**GOOD, name: 10**30}, name)
            for name in ("steps", "batch_clips", "accumulation", "frames")
        ),
        ({**GOOD, "lora": {"rank": 10**30}}, "lora.rank"),
    ],
)
def test_wrong_settings_are_named(values, words):
    with pytest.raises(ConfigError, match=words):
        load_config(None, values)


def test_unreadable_files(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none.yaml: no such file"):
        load_config(tmp_path / "none.yaml")
    path = tmp_path / "x.yaml"
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load_config(path)
    path.write_text("[" * 3000)
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        load_config(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="must hold a mapping"):
        load_config(path)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("store", "cache", "tokens"),
        ("on_top_of", "base_patches", ["a/patch"]),
        ("lora_below", "base_lora", "frozen"),
    ],
)
def test_old_names_of_settings_still_load(tmp_path, old, new, value):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**GOOD, old: value}))
    wanted = TrainConfig.model_validate({**GOOD, new: value})
    assert load_config(path) == TrainConfig.model_validate({**GOOD, old: value}) == wanted
    assert load_config(None, {**GOOD, old: value}) == load_config(path, {new: value}) == wanted
    assert old not in wanted.model_dump() and new in wanted.model_dump()
    with pytest.raises(ConfigError, match=f"{old} is the old name of {new}; leave one of them out"):
        load_config(None, {**GOOD, old: value, new: value})


def test_every_setting_is_explained():
    assert all(field.description for field in TrainConfig.model_fields.values())


def test_the_largest_seed_is_one_that_every_generator_takes():
    from transformers import set_seed

    set_seed(load_config(None, {**GOOD, "seed": 2**32 - 1}).seed)
