"""Molmo2: which tokens see each other, which patches make a token, and how a prompt opens."""

from __future__ import annotations

import pytest
import torch

from helpers import tiny
from pave.bases import load_base
from pave.bases.families.molmo2 import pooled_patches
from pave.bases.prefix import why_no_shared_prefix


@pytest.fixture(scope="module")
def base():
    return tiny.base("molmo2")


def test_tokens_of_all_frames_see_each_other(base):
    """The rule of its processor: patches and the tokens around a frame are of one kind."""
    inputs = tiny.inputs(base, (2, 2))
    spelt = base.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
    found = inputs["mm_token_type_ids"][0].bool().tolist()
    assert found == [word in ("<im_patch>", "<frame_start>", "<frame_end>") for word in spelt]
    blind = {key: value for key, value in inputs.items() if key != "mm_token_type_ids"}
    with torch.no_grad():
        assert not torch.equal(base.model(**inputs).logits, base.model(**blind).logits)
    assert "both directions between visual tokens" in why_no_shared_prefix(base)


def test_patches_of_a_token():
    """Of 4 x 5 patches: one row and one column are missing; the odd one of a gap lies behind."""
    pools, rows, columns = pooled_patches(4, 5)
    assert (rows, columns) == (2, 2)
    assert pools[0].tolist() == [-1, -1, -1, 0, 1, 2, 5, 6, 7]
    assert sorted(pools[pools >= 0].tolist()) == list(range(20))
    assert pooled_patches(3, 6)[0].tolist() == [
        [0, 1, 2, 6, 7, 8, 12, 13, 14],
        [3, 4, 5, 9, 10, 11, 15, 16, 17],
    ]


def test_every_prompt_begins_with_the_tokenizers_first_token(base):
    """BOS once, whether a template writes it or not; the end token where there is no BOS."""
    prefix = base.encode_prompt(base.clip(tiny.frames(1)).text, []).prefix
    assert prefix[0] == base.tokenizer.bos_token_id
    assert prefix.count(base.tokenizer.bos_token_id) == 1
    bare = tiny.tokenizer()
    bare.bos_token = None
    other = load_base(base.model, bare, settings=base.settings)
    assert other.encode_prompt("", []).prefix[0] == bare.eos_token_id
