"""The `trainer` block: what goes through to the Trainer, and what is refused with the reason."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

from helpers import tiny, toy
from pave.errors import ConfigError, TrainError
from pave.train import load_config, train
from pave.train.trainer_fields import FREE_TO_CHANGE, REFUSED, check_trainer, trainer_fields


def _weights(result):
    return load_file(result.patch / "lora" / "adapter_model.safetensors")


def test_every_field_of_the_trainer_is_taken_or_refused_with_a_reason():
    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(REFUSED) <= fields and fields >= FREE_TO_CHANGE
    assert set(trainer_fields()) == fields - set(REFUSED)
    assert all(reason for reason in REFUSED.values())


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (
            {"optm": "sgd"},
            r"trainer.optm: .* no such field \(did you mean 'optim'\?\)",
        ),
        ({"optim": "adafctor"}, "did you mean 'adafactor'"),
        ({"optim": "lomo"}, "chooses its weights itself"),
        ({"optim": "schedule_free_sgd"}, "other weights"),
        ({"lr_scheduler_type": "cosin"}, "did you mean 'cosine'"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "evaluation"),
        ({"seed": 3}, "trainer.seed is not supported: use `seed`"),
        ({"adam_beta1": "fast"}, "trainer.adam_beta1: .*got 'fast'"),
        ({"ignore_data_skip": True}, "order of the data"),
        ({"save_only_model": True}, "could not be resumed"),
    ],
)
def test_what_does_not_go_is_named(block, words):
    with pytest.raises(ConfigError, match=words):
        load_config(None, {"records": "r", "out": "o", "trainer": block})


def test_words_of_a_command_line_become_numbers():
    assert check_trainer({"adam_beta2": "0.98", "run_name": "a"}) == {
        "adam_beta2": 0.98,
        "run_name": "a",
    }


def test_the_block_decides_how_the_patch_trains(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)

    def run(out, **block):
        config = toy.config(tmp_path, out, steps=3, channel=None, trainer=block)
        return _weights(train(config, base=tiny.base(), progress=False))

    plain = run("plain")
    # The Trainer's own defaults are those that pave trains with.
    same = run("same", optim="adamw_torch", lr_scheduler_type="cosine", dataloader_num_workers=1)
    assert all(torch.equal(plain[key], same[key]) for key in plain)
    other = run("other", optim="sgd", lr_scheduler_type="constant_with_warmup")
    # Plain gradient descent from B = 0: A has no gradient in the first step, and B moves by
    # rate x gradient alone, so the two differ.
    assert any(not torch.equal(plain[key], other[key]) for key in plain)


def test_the_optimiser_is_the_one_named_with_a_rate_for_each_part(tmp_path, monkeypatch):
    toy.records(tmp_path, clips=2, questions=1)
    made = []
    real = torch.optim.SGD.__init__

    def note(self, params, *args, **kwargs):
        made.append([(group["name"], group["lr"]) for group in params])
        real(self, params, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "__init__", note)
    config = toy.config(tmp_path, steps=1, trainer={"optim": "sgd"}, lr_lora=0.5, lr_gate=0.25)
    train(config, base=tiny.base(), progress=False)
    assert ("lora", 0.5) in made[0] and ("gate", 0.25) in made[0]


def test_a_run_goes_on_only_with_what_changes_nothing(tmp_path):
    toy.records(tmp_path, clips=2, questions=1)
    common = {"steps": 2, "channel": None, "save_every": 1}
    train(toy.config(tmp_path, **common), base=tiny.base(), progress=False)
    free = toy.config(tmp_path, **common, trainer={"save_total_limit": 1, "run_name": "b"})
    train(free, base=tiny.base(), progress=False)
    other = toy.config(tmp_path, **common, trainer={"adam_beta2": 0.9})
    with pytest.raises(TrainError, match="other trainer"):
        train(other, base=tiny.base(), progress=False)
