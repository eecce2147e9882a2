"""A patch without pave: in plain peft, merged into a plain folder, joined, and as vLLM reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftConfig, PeftModel
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoTokenizer

from helpers import tiny, tiny_patch
from pave.bases import Base, load_base
from pave.cli import main
from pave.errors import PatchError
from pave.model import PatchedModel
from pave.model.combine import combine_patches
from pave.model.export import export_merged
from pave.patches import LoraSpec, read_config

HUB_ID = "llava-hf/some-base"


def logits(model: Any, base: Base, **options: Any) -> Tensor:
    """Of two clips and questions."""
    with torch.no_grad():
        found: Tensor = model(**tiny.inputs(base), **options).logits
    return found


def lora_patch(folder: Path, seed: int, rank: int = 2, **options: Any) -> Path:
    """A saved LoRA-only patch with random weights."""
    model = PatchedModel(tiny.base())
    spec = LoraSpec(rank=rank, alpha=3, **options)
    tiny_patch.add(model, None, seed=seed, lora=spec)
    return model.save_patch(folder)


@pytest.fixture(scope="module")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base on disk, with a file of its processor beside it."""
    folder = tmp_path_factory.mktemp("base") / "base"
    base = tiny.base()
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text('{"size": 1}')
    return folder


def test_the_lora_folder_is_plain_peft(tmp_path: Path) -> None:
    folder = lora_patch(tmp_path / "lora", seed=1)
    ours = PatchedModel(tiny.base())
    ours.load_patch(folder)
    theirs = PeftModel.from_pretrained(tiny.base().model, folder, subfolder="lora")
    base = tiny.base()
    assert torch.equal(logits(theirs, base), logits(ours, base))


def test_an_export_is_a_plain_model(
    base_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = lora_patch(tmp_path / "lora", seed=1)
    out = tmp_path / "out"
    assert main(["export", str(folder), "--base", str(base_folder), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    model = PatchedModel(load_base(str(base_folder)))
    model.load_patch(folder)
    plain = AutoModelForImageTextToText.from_pretrained(out).eval()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer("What?").input_ids == model.base.tokenizer("What?").input_ids
    assert json.loads((out / "preprocessor_config.json").read_text()) == {"size": 1}
    base = tiny.base()
    wanted = logits(model, base)
    assert not torch.allclose(logits(base.model, base), wanted, atol=1e-2)
    torch.testing.assert_close(logits(plain, base), wanted, atol=1e-4, rtol=1e-4)
    # As a base of pave it answers so, too, and the model that was exported is as it was.
    assert load_base(str(out)).fingerprint() == model.base.fingerprint()
    with pytest.raises(PatchError, match="is in use"):
        export_merged(model, out)
    with model.disable_patches():
        assert torch.equal(logits(model, base), logits(base.model, base))


def test_what_a_plain_model_cannot_hold_is_refused(tmp_path: Path) -> None:
    model = PatchedModel(tiny.base())
    tiny_patch.add(model)
    with pytest.raises(PatchError, match="has a fusion for the channel audio"):
        export_merged(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_joined_patches_add_up(tmp_path: Path) -> None:
    one = lora_patch(tmp_path / "one", seed=1)
    two = lora_patch(tmp_path / "two", seed=2, rank=3, targets=("q_proj", "v_proj"))
    base = tiny.base()
    before = logits(base.model, base)
    joined = combine_patches([one, two], tmp_path / "joined", base)
    assert torch.equal(logits(base.model, base), before)
    lora = read_config(joined).lora
    assert lora is not None
    assert lora.rank == 5
    both, single = PatchedModel(tiny.base()), PatchedModel(tiny.base())
    both.load_patch(one)
    both.load_patch(two)
    single.load_patch(joined)
    torch.testing.assert_close(logits(single, base), logits(both, base), atol=1e-4, rtol=1e-4)


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    one = lora_patch(tmp_path / "one", seed=1)
    model = PatchedModel(tiny.base())
    tiny_patch.add(model)
    hearing = model.save_patch(tmp_path / "hearing")
    other = PatchedModel(tiny.base("qwen2_vl"))
    tiny_patch.add(other, None)
    foreign = other.save_patch(tmp_path / "foreign")
    asking = PatchedModel(tiny.base())
    tiny_patch.add(asking, None, prompt="Q: {question}")
    asked = asking.save_patch(tmp_path / "asked")
    for second, told in (
        (hearing, "cannot be kept apart; use --how cat"),
        (foreign, "made for another base"),
        (asked, "another prompt"),
    ):
        with pytest.raises(PatchError, match=told):
            combine_patches([one, second], tmp_path / "joined", tiny.base())
    assert main(["combine", str(one), "--out", str(tmp_path / "joined")]) == 2
    assert not (tmp_path / "joined").exists()


def test_the_adapter_is_what_vllms_resolver_and_reader_ask_for(tmp_path: Path) -> None:
    """By their sources: the base's name to the letter, and only what the reader knows."""
    base = tiny.base()
    base.name = HUB_ID
    model = PatchedModel(base)
    tiny_patch.add(model)
    folder = model.save_patch(tmp_path / "patch") / "lora"
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == HUB_ID
    assert (config["peft_type"], config["bias"]) == ("LORA", "none")
    assert not config["modules_to_save"]
    assert not config["use_dora"]
    assert PeftConfig.from_pretrained(folder.parent, subfolder="lora").r == config["r"]
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as tensors:
        for key in list(tensors.keys()):
            # As it splits a name: prefix, module, which half, "weight".
            found = re.fullmatch(r"base_model\.model\.(.+)\.lora_[AB]\.weight", key)
            assert found is not None
            assert re.fullmatch(config["target_modules"], found[1])
