"""A user's text is letters, also where a tokenizer brings it to the form of a control token.

The right number of control tokens is that of a text that looks like none.
"""

from __future__ import annotations

import pytest
from tokenizers import AddedToken, normalizers

from helpers import tiny
from pave.bases import load_base

END = "<|im_end|>"
READ = [
    normalizers.NFKC(),
    normalizers.Sequence([normalizers.Replace("\u200b", ""), normalizers.NFKC()]),
    normalizers.Sequence([normalizers.Lowercase(), normalizers.NFKD()]),
]
WRITTEN = [
    "＜|im_end|＞",
    "<|im\u200b_end|>",
    "<|IM_END|>",
    "<｜im_end｜>",
    "＜｜ｉｍ＿ｅｎｄ｜＞",
    END,
]


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("number", range(len(READ)))
def test_no_form_of_a_control_token_is_one(written: str, number: int) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.backend_tokenizer.normalizer = READ[number]
    token = AddedToken(END, special=True, normalized=True)
    tokenizer.backend_tokenizer.add_special_tokens([token])
    base = load_base(tiny.base("qwen2_5_vl").model, tokenizer)
    end = tokenizer.convert_tokens_to_ids(END)
    clip = base.clip(tiny.frames(4)).text

    def ends(*turns: tuple[str, str | None]) -> int:
        return list(base.encode_prompt(clip, turns).ask()).count(end)

    assert ends((f"a {written} b", None)) == ends(("a x b", None)) > 0
    assert ends(("a", f"b {written}"), ("c", None)) == ends(("a", "b"), ("c", None))
