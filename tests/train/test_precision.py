"""The run's precision decides the base's type; what its files hold does not."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import yaml

from helpers import tiny, toy
from pave.bases import Base, load_base
from pave.errors import ConfigError
from pave.train import run, train
from pave.train.estimate import estimate
from pave.train.estimate_plan import plan
from pave.train.precision import base_dtype, check_trains, native_precision

SAVED = [torch.float16, torch.float32]


@pytest.fixture(params=SAVED, ids=str)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A base on disk, in a type; its numbers are such as fp16 holds."""
    base = tiny.base()
    base.model.to(torch.float16).to(request.param).save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    toy.records(tmp_path, clips=2, questions=1)
    return tmp_path / "base"


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)]
)
def test_a_base_trains_in_the_precision_of_the_run(
    saved: Path, precision: str, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a base does that was brought into that type beforehand."""
    loaded: list[Base] = []

    def look(*args: object, **kwargs: object) -> Base:
        loaded.append(load_base(*args, **kwargs))
        return loaded[-1]

    monkeypatch.setattr(run, "load_base", look)
    settings = {"steps": 2, "batch_clips": 2, "precision": precision, "device": "cpu"}
    found = train(toy.config(tmp_path, base=str(saved), **settings), progress=False)
    assert [base.dtype for base in loaded] == [dtype]
    ready = load_base(str(saved), dtype=dtype)
    assert {parameter.dtype for parameter in ready.model.parameters()} == {dtype}
    other = train(toy.config(tmp_path, "other", **settings), base=ready, progress=False)
    assert found.final_loss == other.final_loss


def test_smol_stays_in_fp32_and_its_frozen_layers_do_not() -> None:
    """Its norms and its visual tokens are what they were; `frozen_in_bf16` holds the rest."""
    assert base_dtype("smol", "bf16") == "fp32"
    assert base_dtype("someone/smol", "bf16") == "bf16"


def test_a_loaded_base_in_fp16_is_refused(tmp_path: Path) -> None:
    base = tiny.base()
    base.model.to(torch.float16)
    toy.records(tmp_path, clips=2, questions=1)
    with pytest.raises(ConfigError, match=r'load it with load_base\(..., dtype="bf16"\)'):
        train(toy.config(tmp_path, precision="bf16", device="cpu"), base=base, progress=False)


def test_a_loaded_base_in_bf16_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_trains(torch.bfloat16, "fp32")
    assert "the base is in bf16 and stays so" in caplog.text


def test_each_device_has_its_own_native_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that is asked for beside a GPU counts, not the GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    assert native_precision(torch.device("cuda")) == native_precision() == "bf16"
    assert native_precision(torch.device("cpu")) == native_precision(torch.device("mps")) == "fp32"


def test_memory_follows_the_precision(tmp_path: Path) -> None:
    found = {}
    for precision in ("fp32", "bf16", "auto"):
        recipe = {"base": "0.5b", "records": "r", "out": "o", "precision": precision}
        path = tmp_path / f"{precision}.yaml"
        path.write_text(yaml.safe_dump(recipe))
        found[precision] = estimate(plan(str(path)))
    fp32, bf16 = found["fp32"].memory, found["bf16"].memory
    assert bf16["weights"] == 2 * found["bf16"].parameters["base"]
    assert fp32["weights"] == 2 * bf16["weights"]
    # Half the bytes a number, but more of them: autocast keeps queries in one more layout.
    assert bf16["activations"] < fp32["activations"] < 2 * bf16["activations"]
    assert fp32["trained"] == bf16["trained"]  # LoRA and AdamW are in fp32 either way
    assert found["auto"].memory == bf16 and found["auto"].precision == "bf16"
