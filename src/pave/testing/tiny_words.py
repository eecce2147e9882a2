"""The tokenizer of all tiny models: one id a byte, then the special tokens of every family."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# The special tokens of all families: one tokenizer serves them all. Ids follow the 256 bytes.
SPECIALS = (
    "<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<image>", "<video>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>",
    "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<|endoftext|>",
    "<bos>", "<|turn>", "<turn|>", "<|image>", "<image|>", "<|image|>", "<|video|>",
    "</image>", "<im_patch>", "<frame_start>", "<frame_end>", "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",
    "[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|begin_of_image|>", "<|end_of_image|>",
    "<|begin_of_video|>", "<|end_of_video|>", "<|VIDEO|>", "<|IMAGE|>", "<|AUDIO|>",
    "<|vision_bos|>", "<|vision_eos|>", "<|audio_bos|>", "<|audio_eos|>",
)  # fmt: skip
VOCAB = 256 + len(SPECIALS)


def token_id(text: str) -> int:
    """Id of a special token."""
    return 256 + SPECIALS.index(text)


def tiny_tokenizer(bos: bool = False) -> Any:
    """A byte-level tokenizer: one id a byte, then the special tokens of all families.

    Args:
        bos: Whether it writes `<s>` in front of every text, as LLaMA's does.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in SPECIALS]
    )
    if bos:
        inner.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", token_id("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
