"""A base without its tower: the same language model, and the same tower once it is needed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import saved, tiny
from pave.bases import load_base
from pave.bases.origin import Origin
from pave.errors import BaseError


def _saved(family, folder, tied=False):
    base = tiny.base(family)
    if tied:
        base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = True
        base.model.tie_weights()
    base.model.save_pretrained(folder)
    base.tokenizer.save_pretrained(folder)
    return base


@pytest.mark.parametrize(
    ("family", "tied"), [*((family, False) for family in tiny.FAMILIES), ("llava_onevision", True)]
)
def test_without_the_tower_and_with_it_later_the_logits_are_those_of_the_whole_base(
    family, tied, tmp_path, caplog
):
    plain = _saved(family, tmp_path, tied)
    whole = load_base(tmp_path, settings=plain.settings)
    blind = load_base(tmp_path, settings=plain.settings, tower=False)
    assert whole.tower_loaded and not blind.tower_loaded
    assert type(blind.model) is type(whole.model)
    names = {name for name, _ in blind.model.named_parameters()}
    rest = {name for name, _ in whole.model.named_parameters()} - names
    assert rest and not any(
        name.startswith(f"model.{blind.family.language_model}.") for name in rest
    )
    assert not any(tensor.is_meta for tensor in [*blind.model.parameters(), *blind.model.buffers()])
    assert (blind.dtype, blind.device, blind.fingerprint()) == (
        whole.dtype,
        whole.device,
        whole.fingerprint(),
    )

    clip = whole.clip(tiny.frames(4))
    ids = whole.encode_prompt(clip.text, [("What?", None)]).ask()
    inputs = whole.batch([ids], [clip], pixels=False)
    seen = {whole.family.modality: whole.join(whole.visual([clip]))}
    with torch.no_grad():
        expected = whole.model(**inputs, mm_encoder_outputs=seen).logits
        assert torch.equal(blind.model(**inputs, mm_encoder_outputs=seen).logits, expected)
        assert not blind.tower_loaded
        found = blind.visual([clip])[0]
    assert blind.tower_loaded
    assert torch.equal(found.tokens, whole.visual([clip])[0].tokens)
    own, other = blind.model.state_dict(), whole.model.state_dict()
    assert own.keys() == other.keys() and all(torch.equal(own[key], other[key]) for key in own)
    assert not any(parameter.requires_grad for parameter in blind.model.parameters())
    assert not any(module.training for module in blind.model.modules())
    assert "UNEXPECTED" not in caplog.text and "MISSING" not in caplog.text


def test_a_blind_base_says_so_when_it_is_shown_pixels(tmp_path):
    _saved("llava_onevision", tmp_path)
    blind = load_base(tmp_path, tower=False)
    with pytest.raises(BaseError, match="loaded without its tower"):
        blind.inner.vision_tower(torch.zeros(1))
    assert load_base(blind.model, blind.tokenizer, tower=False).origin is None


def test_the_identity_of_files_changes_with_them(tmp_path):
    _saved("llava_onevision", tmp_path)
    first = load_base(tmp_path, tower=False).origin
    assert first is not None and first.identity() != ""
    before = first.identity()
    assert load_base(tmp_path, tower=False).origin.identity() == before
    assert load_base(tmp_path, tower=False, dtype="bfloat16").origin.identity() != before
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    tensors = {
        key: value + 1 if "vision_tower" in key else value.clone() for key, value in tensors.items()
    }
    save_file(tensors, file, metadata={"format": "pt"})
    assert load_base(tmp_path, tower=False).origin.identity() != before


def test_a_tower_is_loaded_once_for_all_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base(saved.base("llava_onevision", tmp_path), tower=False)
    wanted = load_base(tmp_path).visual(tiny.clips(base, (4,)))[0].tokens
    loads = []
    load = Origin.load_tower

    def counted(origin: Origin) -> Any:
        loads.append(origin)
        return load(origin)

    monkeypatch.setattr(Origin, "load_tower", counted)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: base.visual(tiny.clips(base, (4,)))[0].tokens, range(8)))
    assert len(loads) == 1
    assert all(torch.equal(tokens, wanted) for tokens in found)
