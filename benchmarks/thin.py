"""A LLaVA-OneVision with random weights: real in the widths a figure is about, thin otherwise."""

from __future__ import annotations

from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from pave.bases import Base, load_base
from pave.testing.tiny_words import tiny_tokenizer, token_id

VIDEO, END = token_id("<video>"), token_id("</s>")


def thin_base(
    hidden: int, vocabulary: int, query: int = 1152, *, mlp: int = 64, layers: int = 1
) -> Base:
    """27 x 27 patches a frame, hence 196 visual tokens, as LLaVA-OneVision has them.

    Args:
        hidden: Width of the language model, a multiple of 4.
        vocabulary: Words of its head.
        query: Width of the vision tower.
        mlp: Width of the language model's MLP.
        layers: Layers of the language model.
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
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
    }
    text |= {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": vocabulary,
        "tie_word_embeddings": False,
    }
    text |= {"pad_token_id": token_id("<pad>"), "bos_token_id": END, "eos_token_id": END}
    config = LlavaOnevisionConfig(
        vision_config=tower,
        text_config=text,
        image_token_id=token_id("<image>"),
        video_token_id=VIDEO,
    )
    return load_base(LlavaOnevisionForConditionalGeneration(config), tiny_tokenizer())
