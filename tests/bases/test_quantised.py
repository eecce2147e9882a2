"""Bases whose language model is quantised as it is loaded; each way where its package is here.

`make slow` installs torchao; the tests of bitsandbytes need `pip install 'video-pave[quant]'`.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from helpers import tiny, tiny_patch, tinyrun, toy
from pave import hf_compat
from pave.bases import Base, load_base, quantised
from pave.bases.digest import known_by, language_digest, tower_digest
from pave.bases.loading import QUANTIZE, Loading
from pave.cli.app import main
from pave.errors import BaseError, ConfigError, PatchError
from pave.model import PatchedModel
from pave.patches import read_config
from pave.train import train
from pave.train.precision import check_products

PAIRS = [(word, "llava_onevision") for word in QUANTIZE]
PAIRS += [(word, "qwen2_5_vl") for word in ("nf4", "int8")]


def _here(word: str) -> None:
    pytest.importorskip(quantised.PACKAGES[word])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for family in ("llava_onevision", "qwen2_5_vl"):
        base = tiny.base(family)
        made[family] = tmp_path_factory.mktemp(family)
        base.model.save_pretrained(made[family])
        base.tokenizer.save_pretrained(made[family])
    return made


def _load(folders: dict[str, Path], family: str, **options: Any) -> Base:
    settings = tiny.base(family).settings  # the small pictures of tests
    return load_base(folders[family], settings=settings, **options)


def _linear(base: Base) -> dict[str, nn.Module]:
    language = getattr(base.inner, base.family.language_model)
    return {name: part for name, part in language.named_modules() if isinstance(part, nn.Linear)}


def _bytes(layer: Any) -> int:
    """Of all that a quantised weight is made of, by the packages' own account."""
    weight = layer.weight.data if hasattr(layer.weight, "quant_state") else layer.weight
    state = getattr(layer.weight, "quant_state", None)
    if state is not None:  # 4 bits of bitsandbytes
        tensors = [weight, state.absmax, state.state2.absmax]
    elif hasattr(layer.weight, "SCB"):
        tensors = [weight, layer.weight.SCB]
    else:
        names, _ = layer.weight.data.__tensor_flatten__()
        tensors = [getattr(layer.weight.data, name) for name in names]
    return sum(tensor.nbytes for tensor in tensors)


def _numbers(base: Base) -> dict[str, Tensor]:
    """All that a model holds, scales of 4-bit weights too; torchao's tensors do not compare."""
    found = {}
    for name, tensor in base.model.state_dict().items():
        found[name] = tensor.clone() if hf_compat.is_plain(tensor) else tensor.dequantize()
    return found


def _logits(model: Any, base: Base, **tokens: Any) -> Tensor:
    with torch.no_grad():
        return model(**tokens, **tiny.inputs(base)).logits


@pytest.mark.slow
@pytest.mark.parametrize(("word", "family"), PAIRS)
def test_the_language_model_alone_is_quantised(
    word: str, family: str, folders: dict[str, Path]
) -> None:
    """Visual tokens are those of the plain base, so that caches are shared."""
    _here(word)
    plain, base = _load(folders, family), _load(folders, family, quantize=word)
    own, theirs = plain.model.state_dict(), base.model.state_dict()
    language = f"model.{base.family.language_model}."
    for name, tensor in own.items():
        if not name.startswith(language):
            assert torch.equal(tensor, theirs[name]), name
    assert tower_digest(base) == tower_digest(plain)
    assert language_digest(base) != language_digest(plain)
    assert known_by(base) == {"tower": known_by(plain)["tower"]}
    clip = base.clip(tiny.frames(4))
    assert torch.equal(base.visual([clip])[0].tokens, plain.visual([clip])[0].tokens)
    # Near, and not the same.
    rounded, whole = _logits(base.model, base), _logits(plain.model, plain)
    assert not torch.equal(rounded, whole)
    assert torch.corrcoef(torch.stack([rounded.flatten(), whole.flatten()]))[0, 1] > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("word", QUANTIZE)
def test_bytes_are_those_of_the_estimate(word: str, folders: dict[str, Path]) -> None:
    _here(word)
    base = _load(folders, "llava_onevision", quantize=word)
    found = sum(_bytes(layer) for layer in _linear(base).values())
    plain = getattr(tiny.base().inner, base.family.language_model)
    # Tiny matrices do not fill the last block of scales.
    assert quantised.quantised_bytes(plain, word) == pytest.approx(found, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("word", QUANTIZE)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_patches(word: str, dtype: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """A fresh one is exact, gradients reach it in float32, and it comes back to the bit."""
    _here(word)
    base = _load(folders, "llava_onevision", quantize=word, dtype=dtype, device="cpu")
    bare = _logits(base.model, base)
    model = PatchedModel(base)
    name = tiny_patch.add(model, awake=False)
    side = [{"audio": tiny_patch.tokens(steps, seed=steps)} for steps in (5, 3)]
    assert torch.equal(_logits(model, base, channels=side), bare)
    tiny_patch.wake(model, name)
    assert {each.dtype for each in model.trainable_parameters().values()} == {torch.float32}
    model(channels=side, **tiny.inputs(base)).logits.float().square().sum().backward()
    for key, parameter in model.trainable_parameters().items():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key
    awake = _logits(model, base, channels=side)
    assert not torch.equal(awake, bare)
    with model.disable_patches():
        assert torch.equal(_logits(model, base, channels=side), bare)
    with pytest.raises(PatchError, match="no plain weights|quantised"):
        model.merge()
    model.save_patch(tmp_path / "p")
    assert read_config(tmp_path / "p").base.quantized
    assert torch.equal(_logits(model.unpatch(), base), bare)

    again = PatchedModel(_load(folders, "llava_onevision", quantize=word, dtype=dtype))
    again.load_patch(tmp_path / "p")
    assert torch.equal(_logits(again, again.base, channels=side), awake)


@pytest.mark.slow
@pytest.mark.parametrize("word", ["nf4", "int8"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training(word: str, precision: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """The whole run, its tower loaded late, and the words of the patch afterwards."""
    _here(word)
    toy.records(tmp_path, clips=2, questions=1)
    config = toy.config(
        tmp_path, "run", base=str(folders["llava_onevision"]), precision=precision, steps=2,
        batch_clips=2, align_steps=2, quantize=word, device="cpu",
    )  # fmt: skip
    result = train(config)
    assert 0 < result.final_loss < 50
    assert read_config(result.patch).base.quantized


@pytest.mark.slow
@pytest.mark.parametrize("word", QUANTIZE)
def test_a_base_is_the_same_after_its_answers(word: str, folders: dict[str, Path]) -> None:
    """Bitsandbytes packs 4-bit weights anew for some processors, and rounds their scales."""
    _here(word)
    base = _load(folders, "llava_onevision", quantize=word)
    before = _numbers(base)
    inputs = tiny.inputs(base, (4,))
    with torch.no_grad():
        first = base.model.generate(**inputs, do_sample=False, max_new_tokens=4)
        assert torch.equal(base.model.generate(**inputs, do_sample=False, max_new_tokens=4), first)
    after = _numbers(base)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_ask_and_eval(
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _here("int8")
    made = tinyrun.make(tmp_path / "made", clips=1, questions=1)
    base = ["--base", str(made.base), "--quantize", "int8"]
    assert main(["ask", str(made.loud), "Hm?", *base, "--patch", str(made.patch)]) == 0
    (tmp_path / "e.yaml").write_text("quantize: int8\n")
    words = ["--records", str(made.records), "--out", str(tmp_path / "e"), "--no-plot"]
    words += ["--base", str(made.base), "--config", str(tmp_path / "e.yaml")]
    assert main(["eval", *words, "--arms.base", "none"]) == 0


@pytest.mark.slow
def test_a_patch_of_a_quantised_base_says_so(
    folders: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _here("int8")
    base = _load(folders, "llava_onevision", quantize="int8")
    patch = tinyrun.patch(base, tmp_path / "p", None)
    PatchedModel(_load(folders, "llava_onevision", quantize="int8")).load_patch(patch)
    assert not caplog.records
    PatchedModel(_load(folders, "llava_onevision")).load_patch(patch)
    assert "trained on a base that was quantised (torchao), and this one is not" in caplog.text


def test_what_cannot_be_quantised(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folders["llava_onevision"]
    with pytest.raises(ConfigError, match="unknown way to quantise 'nf3'.*did you mean 'nf4'"):
        load_base(folder, quantize="nf3")
    with pytest.raises(ValueError, match="unknown way to quantise 'int16'.*did you mean 'int8'"):
        Loading(quantize="int16")
    base = tiny.base()
    with pytest.raises(BaseError, match="quantize='int8'.*is loaded already"):
        load_base(base.model, base.tokenizer, quantize="int8")
    with pytest.raises(BaseError, match="without weights there is nothing to quantise"):
        load_base(folder, quantize="int8", weights=False)
    monkeypatch.setattr(quantised, "find_spec", lambda name: None)
    for word, package in quantised.PACKAGES.items():
        with pytest.raises(ConfigError, match=rf"the package {package}, .*pip install 'video-pave"):
            load_base(folder, quantize=word)


def test_a_quantised_folder_is_not_quantised_again() -> None:
    config = tiny.base().config
    config.quantization_config = {"quant_method": "awq", "bits": 4}
    with pytest.raises(
        BaseError, match=r"already quantised \(awq, 4 bits\); leave out quantize='nf4'"
    ):
        quantised.must_quantise("nf4", "folder", config)


def test_experts_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """They are no linear layers, and most of such a model."""
    with caplog.at_level(logging.WARNING):
        for family in ("llava_onevision", "qwen3_vl_moe"):
            base = tiny.base(family)
            # Embeddings are most of a tiny model.
            language = getattr(base.inner, base.family.language_model)
            language.embed_tokens = nn.Embedding(1, 1)
            assert "lm_head" in quantised.parts_outside(base.model, base.family.language_model)
            assert ("are quantised; the others keep" in caplog.text) == (family == "qwen3_vl_moe")


def test_what_cannot_be_filled_is_told(tmp_path: Path) -> None:
    """Molmo2's fused projections, which transformers does not quantise as it takes them apart."""
    _here("int8")
    base = tiny.base("molmo2")
    base.model.save_pretrained(tmp_path)
    base.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(BaseError, match="quantise them to int8; leave quantize out"):
        load_base(tmp_path, quantize="int8")


class Picky(nn.Module):
    """A quantised layer whose package lacks a product, as quanto's do."""

    def __init__(self, lacks: str) -> None:
        super().__init__()
        self.in_features = 24
        self.weight = nn.Parameter(torch.zeros(24, 24), requires_grad=False)
        self.lacks = lacks

    def forward(self, given: Tensor) -> Tensor:
        if self.lacks == "forward" and given.dtype == torch.bfloat16:
            raise RuntimeError("expected scalar type BFloat16 but found Float\nmore words")
        if self.lacks == "backward":
            given = given.detach().requires_grad_()
            given.register_hook(_refuse)
        return 2 * given


def _refuse(_: Tensor) -> Tensor:
    raise RuntimeError("expected m1 and m2 to have the same dtype")


@pytest.mark.parametrize("lacks", ["forward", "backward", ""])
def test_layers_that_do_not_take_bf16_are_named_before_a_run(
    tmp_path: Path, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.base()
    toy.records(tmp_path, clips=1, questions=1)
    monkeypatch.setattr(base.model, "picky", Picky(lacks), raising=False)
    monkeypatch.setattr(base.config, "quantization_config", {"quant_method": "x"}, raising=False)
    check_products(base, "fp32")
    if not lacks:
        check_products(base, "bf16")
        return
    with pytest.raises(
        ConfigError, match=r"do not take bf16 \(Picky: expected [^\n]*precision=fp32"
    ):
        train(toy.config(tmp_path, steps=1, precision="bf16"), base=base, progress=False)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


class Rows:
    """What quanto keeps of a weight: whole numbers, and the type of its products."""

    def __init__(self, length: int, dtype: torch.dtype) -> None:
        self._data, self.dtype = torch.zeros(4, length, dtype=torch.int8), dtype


@pytest.mark.parametrize("length", [64, 96, 1152, 24, 100, 4304, 30])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_rows_that_torch_would_read_beyond(length: int, dtype: torch.dtype) -> None:
    """`torch._weight_int8pack_mm` is right for multiples of 32, and quanto asks it for those of 4.

    The others were seen to end the process, or to give numbers of 1e9 for products of 1.
    """
    model = nn.Sequential(nn.Identity())
    model[0].weight = Rows(length, dtype)
    if dtype == torch.bfloat16 and length in (24, 100, 4304):
        with pytest.raises(BaseError, match="0 is in int8 by quanto.*load the model in fp32"):
            quantised.must_multiply(model)
    else:
        quantised.must_multiply(model)
