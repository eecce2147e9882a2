"""Prompts: the families' own chat formats, encoded part by part."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import tiny
from pave.bases import Base
from pave.bases.prompt import Prompt, PromptStyle
from pave.errors import BaseError

CHATML = "<|im_end|>\n<|im_start|>assistant\n"
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
EXPECTED = {
    "llava_onevision": "<|im_start|>user [V]\nWhy?<|im_end|><|im_start|>assistant\nSo.<|im_end|>",
    "llava_next_video": "USER: [V]\nWhy? ASSISTANT: So.</s>",
    "qwen2_vl": f"{SYSTEM}<|im_start|>user\n[V]Why?{CHATML}So.<|im_end|>",
    "qwen2_5_vl": f"{SYSTEM}<|im_start|>user\n[V]Why?{CHATML}So.<|im_end|>",
    "qwen3_vl": f"<|im_start|>user\n[V]Why?{CHATML}So.<|im_end|>",
    "internvl": f"<|im_start|>user\n[V]\nWhy?{CHATML}So.<|im_end|>",
    "smolvlm": "<|im_start|>User: [V]Why?<end_of_utterance>\nAssistant: So.<end_of_utterance>",
    "video_llama_3": f"{SYSTEM}<|im_start|>user\n[V]\nWhy?{CHATML}So.<|im_end|>",
}


@pytest.mark.parametrize("family", EXPECTED)
def test_the_prompt_reads_as_the_chat_template(family: str) -> None:
    """Prefix, question and answer in a row are the family's chat format with the clip in it."""
    base = tiny.base(family)
    clip = base.clip(tiny.frames(2))
    prompt = base.encode_prompt(clip.text, [("Why?", "So.")])
    assert base.tokenizer.decode(prompt.dialogue()) == EXPECTED[family].replace("[V]", clip.text)
    assert prompt.turns[0][1][-1] == base.stop_ids[0]
    assert base.decode(prompt.turns[0][1]) == "So."


def encode_prompt(
    tokenizer: Any, style: PromptStyle, text: str, turns: Sequence[tuple[str, str | None]]
) -> Prompt:
    """As a base of that tokenizer and chat format encodes them."""
    base = SimpleNamespace(tokenizer=tokenizer, family=SimpleNamespace(style=style))
    return Base.encode_prompt(cast("Base", base), text, turns)


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=4))
def test_packing_and_asking_see_the_same_ids(turns: list[tuple[str, str]]) -> None:
    """A turn's ids do not depend on the turns beside it, nor on whether its answer is known."""
    tokenizer, style = tiny.tokenizer(), PromptStyle("<s>H ", "\n", " ASK:", "</s>", "USER: ", " ")
    packed = encode_prompt(tokenizer, style, "<video>" * 3, [(q, a) for q, a in turns])
    for number, (question, answer) in enumerate(turns):
        alone = encode_prompt(tokenizer, style, "<video>" * 3, [(question, None)])
        assert alone.ask() == packed.ask(number) and alone.turns[0][1] == []
        assert tokenizer.decode(packed.turns[number][1]) == f" {answer}</s>"
    assert packed.dialogue()[: len(packed.prefix)] == packed.prefix


def test_timestamps_are_in_the_text() -> None:
    """The families that write times write those of the token steps."""
    for family, wanted in (
        ("qwen3_vl", ["<0.2 seconds>", "<1.2 seconds>"]),
        ("video_llama_3", ["Time 0.0s:", ",Time 0.5s:", ",Time 1.5s:"]),
        ("internvl", ["Frame1: <img>", "\nFrame4: <img>"]),
        ("smolvlm", ["series of four frames from a 0:00:01", "\nFrame from 00:01:"]),
    ):
        base = tiny.base(family)
        text = base.clip(tiny.frames(4)).text
        assert all(part in text for part in wanted), (family, text)


def test_bos_is_written_once_where_the_tokenizer_writes_it() -> None:
    """A tokenizer that puts BOS before every text gets exactly one, before the head."""
    style = PromptStyle("USER: ", "\n", " ASSISTANT:", "</s>", "USER: ", " ")
    with_bos = encode_prompt(tiny.tokenizer(bos=True), style, "<video>", [("Why?", "So.")])
    without = encode_prompt(tiny.tokenizer(), style, "<video>", [("Why?", "So.")])
    assert with_bos.prefix == [tiny.token("<s>"), *without.prefix]
    assert with_bos.turns == without.turns
    spelt = encode_prompt(tiny.tokenizer(bos=True), PromptStyle("<s>U", "", "", "</s>", ""), "", [])
    assert spelt.prefix.count(tiny.token("<s>")) == 1


def test_a_sentencepiece_tokenizer_gets_no_spaces_of_its_own() -> None:
    """Llama's tokenizer puts a space before text that stands alone; a question must not get one."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = ["<unk>", "▁", "\n", *"aksbQS?.:"]
    inner = Tokenizer(models.BPE({x: i for i, x in enumerate(letters)}, [], unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    from transformers import PreTrainedTokenizerFast

    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    prompt = encode_prompt(
        tokenizer, PromptStyle("Q", "\n", " S:", ".", "Q", " "), "", [("ask?", "kk")]
    )
    spelt = ["".join(tokenizer.convert_ids_to_tokens(part)) for part in prompt.turns[0]]
    assert spelt == ["ask?▁S:", "▁kk."]


def test_dialogues_open_each_further_turn() -> None:
    """`again` stands between turns, and nowhere else."""
    prompt = Prompt([1], [([2], [3]), ([4], [])], again=[9])
    assert prompt.dialogue() == [1, 2, 3, 9, 4] and prompt.ask(1) == [1, 4]


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding(side: str) -> None:
    """Pads on the side asked for and masks the padding."""
    base = tiny.base()
    pad = base.tokenizer.pad_token_id
    batch = base.batch([[1, 2, 3], [4]], pad=side)
    second = [pad, pad, 4] if side == "left" else [4, pad, pad]
    seen = [0, 0, 1] if side == "left" else [1, 0, 0]
    assert batch["input_ids"].tolist() == [[1, 2, 3], second]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], seen]


def test_wrong_batches_are_refused() -> None:
    """No prompts, no such side, and prompts that do not match their clips."""
    base = tiny.base()
    with pytest.raises(BaseError, match="at least one prompt"):
        base.batch([])
    with pytest.raises(BaseError, match="padding side"):
        base.batch([[1]], pad="up")
    with pytest.raises(BaseError, match="as many clips"):
        base.batch([[1], [2]], tiny.clips(base, (2,)))


def test_placeholders_in_a_question_are_refused() -> None:
    """They would be taken for visual tokens."""
    base = tiny.base()
    clip = base.clip(tiny.frames(2))
    prompt = base.encode_prompt(clip.text, [("What is a <video>?", None)]).ask()
    with pytest.raises(
        BaseError, match="row 0: the prompt holds 10 placeholders <video> but its clip has 9"
    ):
        base.batch([prompt], [clip])
