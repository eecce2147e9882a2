"""A LLaVA-OneVision with random weights: real in the widths a figure is about, thin otherwise."""

from __future__ import annotations

from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from pave.bases import Base, load_base

VIDEO, END = 3, 1


class Tokenizer:
    """Knows the placeholder and the end; nothing here reads text."""

    pad_token_id = 0
    eos_token_id = END

    def convert_tokens_to_ids(self, token: str) -> int:
        """The placeholder's id, whatever is asked."""
        return VIDEO


def thin_base(hidden: int, vocabulary: int, query: int = 1152) -> Base:
    """27 x 27 patches a frame, hence 196 visual tokens, as LLaVA-OneVision has them.

    Args:
        hidden: Width of the language model, a multiple of 4.
        vocabulary: Words of its head.
        query: Width of the vision tower.
    """
    tower = {
        "model_type": "siglip_vision_model",
        "hidden_size": query,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
    }
    tower |= {
        "num_attention_heads": 4,
        "image_size": 378,
        "patch_size": 14,
        "vision_use_head": False,
    }
    text = {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
    }
    text |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
    }
    text |= {"pad_token_id": 0, "bos_token_id": END, "eos_token_id": END}
    config = LlavaOnevisionConfig(
        vision_config=tower, text_config=text, image_token_id=2, video_token_id=VIDEO
    )
    return load_base(LlavaOnevisionForConditionalGeneration(config), Tokenizer())
