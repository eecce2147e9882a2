"""Prompts: the families' own chat formats, encoded part by part."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from helpers import tiny
from pave.bases import load_base
from pave.bases.prompt import ChatFormat, Prompt, PromptStyle, context_length
from pave.errors import BaseError
from pave.testing.tiny_words import SPECIALS

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
    return ChatFormat(tokenizer, style, "<video>").encode(text, turns)


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

    tokenizer: Any = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", eos_token="."
    )
    prompt = encode_prompt(
        tokenizer, PromptStyle("Q", "\n", " S:", ".", "Q", " "), "", [("ask?", "kk")]
    )
    spelt = ["".join(tokenizer.convert_ids_to_tokens(part)) for part in prompt.turns[0]]
    assert spelt == ["ask?▁S:", "▁kk."]


def test_dialogues_open_each_further_turn() -> None:
    """What opens a further turn stands between turns, and nowhere else."""
    prompt = Prompt([1], [([2], [3]), ([4], [])], further=[[], [9, 4]])
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


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_onevision"])
def test_what_is_seen_is_no_padding(family: str) -> None:
    """Some folders say that the token of a clip or a picture pads."""
    base = tiny.base(family)
    for name in ("video_token_id", "image_token_id"):
        seen = getattr(base.config, name)
        base.tokenizer.pad_token = base.tokenizer.convert_ids_to_tokens(seen)
        batch = base.batch([[1, 2, 3], [4]])
        assert batch["input_ids"][1].tolist() == [4, base.stop_ids[0], base.stop_ids[0]]


def test_wrong_batches_are_refused() -> None:
    """No prompts, no such side, and prompts that do not match their clips."""
    base = tiny.base()
    with pytest.raises(BaseError, match="at least one prompt"):
        base.batch([])
    with pytest.raises(BaseError, match="padding side"):
        base.batch([[1]], pad="up")
    with pytest.raises(BaseError, match="as many clips"):
        base.batch([[1], [2]], tiny.clips(base, (2,)))


def test_a_prompt_with_other_placeholders_than_its_clip_is_refused() -> None:
    base = tiny.base()
    clip = base.clip(tiny.frames(2))
    prompt = [base.placeholder_id, *base.encode_prompt(clip.text, [("What?", None)]).ask()]
    with pytest.raises(
        BaseError, match="row 0: the prompt holds 10 placeholders <video> but its clip has 9"
    ):
        base.batch([prompt], [clip])


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_a_text_spells_is_letters(family: str) -> None:
    """Every special token of every family, in question and answer: bytes, as they stand."""
    base = tiny.base(family)
    clip = base.clip(tiny.frames(2))
    plain = base.encode_prompt(clip.text, [("Q", "A")])
    for word in SPECIALS:
        text = f"a{word}b"
        prompt = base.encode_prompt(clip.text, [(text, text)])
        # The tokenizer has one id a byte, in the order of its alphabet.
        letters = base.tokenizer.convert_tokens_to_ids(list(text))
        for found, own, letter in zip(prompt.turns[0], plain.turns[0], "QA", strict=True):
            place = own.index(base.tokenizer.convert_tokens_to_ids(letter))
            assert found == [*own[:place], *letters, *own[place + 1 :]], word
        assert base.decode(prompt.turns[0][1]) == text
        base.batch([prompt.dialogue()], [clip])  # as many placeholders as the clip has tokens


def test_what_a_text_spells_is_split_as_transformers_splits_it() -> None:
    """With merges: the ids are those that `split_special_tokens` gives where all is special."""
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.NFC()
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator(["an image of a video and the end of an image"] * 4, trainer)
    inner.add_special_tokens(["<video>", "<|end|>"])
    inner.add_tokens([AddedToken("endocarditis", special=False)])
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")
    style = PromptStyle("H", "", "<|end|>\nA: ", "<|end|>", "")
    text = "Is <video> an image<|end|>  e\u0301?"
    found = encode_prompt(tokenizer, style, "", [(text, None)]).turns[0][0]
    split = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    tail = tokenizer(style.ask, add_special_tokens=False, split_special_tokens=False)["input_ids"]
    assert found == split + tail
    # A word that somebody added to the vocabulary is a word.
    word = encode_prompt(tokenizer, style, "", [("endocarditis", None)]).turns[0][0]
    assert word[0] == tokenizer.convert_tokens_to_ids("endocarditis")


def test_answers_end_with_a_token_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A tokenizer without the format's end token spells it "<", "/", "s", ">": "x < y" is whole."""
    model = tiny.base("llava_next_video").model
    vocabulary = tiny.tokenizer()
    letters = json.loads(vocabulary.backend_tokenizer.to_str())
    for token in letters["added_tokens"]:
        token["content"] = token["content"].replace("</s>", "<|spare|>")
    tokenizer: Any = type(vocabulary)(
        tokenizer_object=Tokenizer.from_str(json.dumps(letters)),
        pad_token="<pad>",
        eos_token="<|im_end|>",
    )
    model.generation_config.eos_token_id = None
    base = load_base(model, tokenizer)
    assert base.stop_ids == [tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert "lacks the token '</s>'" in caplog.text and "<|im_end|>" in caplog.text
    prompt = base.encode_prompt("<video>", [("Q", "x < y")])
    assert tokenizer.decode(prompt.turns[0][1]).strip() == "x < y<|im_end|>"
    assert prompt.turns[0][1][-1] == base.stop_ids[0]
    tokenizer.eos_token = None
    with pytest.raises(BaseError, match="lacks the token '</s>'.*set tokenizer.eos_token"):
        load_base(model, tokenizer)


@pytest.mark.parametrize(
    ("rope", "longest"),
    [
        ({}, 64),
        ({"rope_type": "linear", "factor": 2.0}, 128),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8}, 64),
        ({"rope_type": "dynamic", "factor": 2.0}, 128),
        ({"rope_type": "default", "mrope_section": [16, 24, 24]}, 64),
        ({"full_attention": {"rope_type": "linear", "factor": 8.0}, "sliding_attention": {}}, 64),
    ],
)
def test_stretched_positions_count(rope: dict[str, Any], longest: int) -> None:
    """As the configs of Vicuna, Qwen2.5, Llama 3.1, Qwen2-VL and Gemma 3 have them."""
    config = SimpleNamespace(max_position_embeddings=64, rope_parameters=rope)
    assert context_length(config) == longest
