"""The tiny models themselves: a builder for each model type, with the real classes' config.

Two layers, a width of 32, towers of 2 x 2 or 2 x 3 tokens a frame. `pave.testing.tiny` makes bases
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pave.bases import BaseSettings
from pave.bases.settings import CLIP_MEAN, CLIP_STD
from pave.testing.tiny_words import VOCAB, tiny_tokenizer, token_id

HIDDEN = 32
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": token_id("<pad>"),
    "bos_token_id": token_id("<s>"),
    "eos_token_id": token_id("</s>"),
    "tie_word_embeddings": False,
}
TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
QWEN2_TEXT: dict[str, Any] = {"model_type": "qwen2", **TEXT}
LLAMA_TEXT: dict[str, Any] = {"model_type": "llama", **TEXT}
PLACEHOLDERS = {
    "image_token_id": token_id("<|image_pad|>"),
    "video_token_id": token_id("<|video_pad|>"),
}
VISION_IDS = {
    **PLACEHOLDERS,
    "vision_start_token_id": token_id("<|vision_start|>"),
    "vision_end_token_id": token_id("<|vision_end|>"),
}


def _llava_onevision() -> Any:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    tower = {"model_type": "siglip_vision_model", "vision_use_head": False, **TOWER}
    config = LlavaOnevisionConfig(
        vision_config={**tower, "image_size": 42, "patch_size": 14},  # 3 x 3 patches, 2 x 2 tokens
        text_config=QWEN2_TEXT,
        image_token_id=token_id("<image>"),
        video_token_id=token_id("<video>"),
        image_grid_pinpoints=[[42, 42]],
    )
    return LlavaOnevisionForConditionalGeneration(config)


def _llava_next_video() -> Any:
    from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

    tower = {"model_type": "clip_vision_model", "projection_dim": 24, **TOWER}
    config = LlavaNextVideoConfig(
        vision_config={**tower, "image_size": 56, "patch_size": 14},  # 4 x 4 patches, 2 x 2 tokens
        text_config=LLAMA_TEXT,
        image_token_index=token_id("<image>"),
        video_token_index=token_id("<video>"),
        image_grid_pinpoints=[[56, 56]],
        vision_feature_layer=-2,
        spatial_pool_mode="average",
        spatial_pool_stride=2,
        image_seq_length=16,
        video_seq_length=16,
    )
    return LlavaNextVideoForConditionalGeneration(config)


MROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
MROPE_TEXT: dict[str, Any] = {**TEXT, "rope_parameters": MROPE}


def _qwen2_vl() -> Any:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tower = {"depth": 2, "embed_dim": 24, "hidden_size": HIDDEN, "num_heads": 3, "mlp_ratio": 2}
    config = Qwen2VLConfig(vision_config=tower, text_config=MROPE_TEXT, **VISION_IDS)
    return Qwen2VLForConditionalGeneration(config)


def _qwen2_5_vl() -> Any:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tower = {
        "depth": 2,
        "hidden_size": 24,
        "out_hidden_size": HIDDEN,
        "num_heads": 3,
        "intermediate_size": 32,
        "window_size": 56,  # 2 x 2 tokens
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(vision_config=tower, text_config=MROPE_TEXT, **VISION_IDS)
    return Qwen2_5_VLForConditionalGeneration(config)


# Of the Omni models, and never asked: sound is a patch's.
EARS: dict[str, Any] = {
    "d_model": 24,
    "encoder_layers": 1,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 32,
    "output_dim": HIDDEN,
    "num_mel_bins": 8,
}


def _qwen2_5_omni_thinker() -> Any:
    from transformers import (
        Qwen2_5OmniThinkerConfig,
        Qwen2_5OmniThinkerForConditionalGeneration,
    )

    tower = {
        "depth": 2,
        "hidden_size": 24,
        "out_hidden_size": HIDDEN,
        "num_heads": 3,
        "intermediate_size": 32,
        "window_size": 56,  # 2 x 2 tokens
        "fullatt_block_indexes": [1],
    }
    # A whole checkpoint has this as its `thinker_config`.
    config = Qwen2_5OmniThinkerConfig(
        vision_config=tower,
        audio_config=EARS,
        text_config=MROPE_TEXT,
        video_token_index=token_id("<|VIDEO|>"),
        image_token_index=token_id("<|IMAGE|>"),
        audio_token_index=token_id("<|AUDIO|>"),
        audio_start_token_id=token_id("<|audio_bos|>"),
        audio_end_token_id=token_id("<|audio_eos|>"),
        vision_start_token_id=token_id("<|vision_bos|>"),
        vision_end_token_id=token_id("<|vision_eos|>"),
    )
    return Qwen2_5OmniThinkerForConditionalGeneration(config)


def _qwen3_omni_moe_thinker() -> Any:
    from transformers import (
        Qwen3OmniMoeThinkerConfig,
        Qwen3OmniMoeThinkerForConditionalGeneration,
    )

    # 13 positions a second are the published number; 25 are the default.
    config = Qwen3OmniMoeThinkerConfig(
        vision_config=QWEN3_TOWER,
        audio_config={**EARS, "downsample_hidden_size": 8},
        text_config={**QWEN3_TEXT, **QWEN3_EXPERTS},
        position_id_per_seconds=13,
        audio_token_id=token_id("<|AUDIO|>"),
        audio_start_token_id=token_id("<|audio_bos|>"),
        **VISION_IDS,
    )
    # The base's own class, as in a folder of the whole model.
    return Qwen3OmniMoeThinkerForConditionalGeneration(config)


QWEN35_TOWER: dict[str, Any] = {
    "depth": 3,
    "hidden_size": 24,
    "out_hidden_size": HIDDEN,
    "num_heads": 3,
    "intermediate_size": 32,
    "patch_size": 16,
    "num_position_embeddings": 64,  # 8 x 8, between which larger frames are interpolated
}
# Two of the three layers hand their features to the language model beside the tokens.
QWEN3_TOWER: dict[str, Any] = {**QWEN35_TOWER, "deepstack_visual_indexes": [0, 1]}
QWEN3_TEXT: dict[str, Any] = {
    **TEXT,
    "head_dim": 8,
    "rope_parameters": {**MROPE, "mrope_interleaved": True},
}


QWEN3_EXPERTS: dict[str, Any] = {
    "num_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "decoder_sparse_step": 1,
}


def _qwen3_vl() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(vision_config=QWEN3_TOWER, text_config=QWEN3_TEXT, **VISION_IDS)
    return Qwen3VLForConditionalGeneration(config)


def _qwen3_vl_moe() -> Any:
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    config = Qwen3VLMoeConfig(
        vision_config=QWEN3_TOWER, text_config={**QWEN3_TEXT, **QWEN3_EXPERTS}, **VISION_IDS
    )
    return Qwen3VLMoeForConditionalGeneration(config)


# One layer of each kind: a recurrent state, and keys and values.
HYBRID: dict[str, Any] = {
    **TEXT,
    "head_dim": 16,  # a quarter of it turns: [1, 1, 0] pairs of the three axes
    "layer_types": ["linear_attention", "full_attention"],
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "rope_parameters": {**MROPE, "mrope_section": [1, 1, 0], "mrope_interleaved": True},
}


def _qwen3_5() -> Any:
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    config = Qwen3_5Config(vision_config=QWEN35_TOWER, text_config=HYBRID, **VISION_IDS)
    return Qwen3_5ForConditionalGeneration(config)


def _qwen3_5_moe() -> Any:
    from transformers import Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration

    # Two experts of which a token takes one, and one that every token takes.
    experts = {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    }
    text = {**HYBRID, **experts}
    config = Qwen3_5MoeConfig(vision_config=QWEN35_TOWER, text_config=text, **VISION_IDS)
    return Qwen3_5MoeForConditionalGeneration(config)


GLM_TOWER: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 24,
    "out_hidden_size": HIDDEN,
    "num_heads": 3,
    "intermediate_size": 32,
    "image_size": 112,  # 8 x 8 patches, between whose positions larger frames are interpolated
    "patch_size": 14,
}
GLM_TEXT: dict[str, Any] = {
    **TEXT,
    "rope_parameters": {**MROPE, "partial_rotary_factor": 1.0},
}
# The image's token stands for videos too, between their marks.
GLM_IDS = {
    "image_token_id": token_id("<|image|>"),
    "video_token_id": token_id("<|video|>"),
    "video_start_token_id": token_id("<|begin_of_video|>"),
    "video_end_token_id": token_id("<|end_of_video|>"),
}
# The first layer is dense; then two experts of which a token takes one, and one for all.
GLM_EXPERTS = {
    "n_routed_experts": 2,
    "num_experts_per_tok": 1,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
}


def _glm4v() -> Any:
    from transformers import Glm4vConfig, Glm4vForConditionalGeneration

    config = Glm4vConfig(vision_config=GLM_TOWER, text_config=GLM_TEXT, **GLM_IDS)
    return Glm4vForConditionalGeneration(config)


def _glm4v_moe() -> Any:
    from transformers import Glm4vMoeConfig, Glm4vMoeForConditionalGeneration

    text = {**GLM_TEXT, **GLM_EXPERTS}
    config = Glm4vMoeConfig(vision_config=GLM_TOWER, text_config=text, **GLM_IDS)
    return Glm4vMoeForConditionalGeneration(config)


def _glm46v() -> Any:
    from transformers import Glm46VConfig, Glm46VForConditionalGeneration

    # The large one: the language model of GLM-4.5V, and its tower under another name.
    tower = {"model_type": "glm4v_moe_vision", **GLM_TOWER}
    text = {"model_type": "glm4v_moe_text", **GLM_TEXT, **GLM_EXPERTS}
    config = Glm46VConfig(vision_config=tower, text_config=text, **GLM_IDS)
    return Glm46VForConditionalGeneration(config)


def _internvl() -> Any:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={"image_size": 56, "patch_size": 14, **TOWER},  # 4 x 4 patches, 2 x 2 tokens
        text_config=QWEN2_TEXT,
        image_token_id=token_id("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config)


def _smolvlm() -> Any:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config={"image_size": 56, "patch_size": 14, **TOWER},  # 4 x 4 patches, 2 x 2 tokens
        text_config=LLAMA_TEXT,
        image_token_id=token_id("<image>"),
        scale_factor=2,
        pad_token_id=token_id("<pad>"),
    )
    return SmolVLMForConditionalGeneration(config)


def _video_llama_3() -> Any:
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    tower = {"patch_size": 14, **TOWER, "hidden_size": 32}  # rotary positions want 8 a head
    config = VideoLlama3Config(vision_config=tower, text_config=QWEN2_TEXT, **PLACEHOLDERS)
    return VideoLlama3ForConditionalGeneration(config)


def _perception_lm() -> Any:
    from transformers import PerceptionLMConfig, PerceptionLMForConditionalGeneration

    # CLIP's tower stands in for timm's, which has to be installed: it too takes square pictures and
    # gives a token for the whole before those of the patches.
    tower = {"model_type": "clip_vision_model", "image_size": 56, "patch_size": 14, **TOWER}
    said = {"embed_dim": TOWER["hidden_size"], "img_size": [56, 56]}  # 4 x 4 patches, 2 x 2 tokens
    config = PerceptionLMConfig(
        vision_config={**tower, "model_args": said, "architecture": "stand_in_patch14_56"},
        text_config=LLAMA_TEXT,
        projector_pooling_ratio=2,
        image_token_id=token_id("<|image|>"),
        video_token_id=token_id("<|video|>"),
    )
    return PerceptionLMForConditionalGeneration(config)


def _molmo2() -> Any:
    from transformers import Molmo2Config, Molmo2ForConditionalGeneration

    heads = {"num_key_value_heads": 4, "head_dim": 6}
    layers = {"vision_feature_layer": [1, 0], "text_hidden_size": HIDDEN}
    config = Molmo2Config(
        vision_config={**TOWER, **heads, "image_size": [48, 48], "patch_size": 8},  # 2 x 2 tokens
        adapter_config={**TOWER, **heads, **layers},
        text_config={**TEXT, "head_dim": 8, "additional_vocab_size": 8},
        image_patch_id=token_id("<im_patch>"),
        frame_start_token_id=token_id("<frame_start>"),
        frame_end_token_id=token_id("<frame_end>"),
    )
    model = Molmo2ForConditionalGeneration(config)
    # Patches that hear less of each other than of themselves.
    for layer in model.model.vision_tower.layers:
        torch.nn.init.constant_(layer.layer_norm1.weight, 0.2)
    return model


MINICPM: dict[str, Any] = {
    "text_config": {"model_type": "qwen3_5_text", **HYBRID},
    "vision_config": {"image_size": 56, "patch_size": 4, **TOWER},  # 16 pixels a token
    "insert_layer_id": 0,
    **PLACEHOLDERS,
}


def _minicpmv4_6() -> Any:
    from transformers import MiniCPMV4_6Config, MiniCPMV4_6ForConditionalGeneration

    return MiniCPMV4_6ForConditionalGeneration(MiniCPMV4_6Config(**MINICPM))


def _minicpmv4_7() -> Any:
    from transformers import MiniCPMV4_7Config, MiniCPMV4_7ForConditionalGeneration

    markers = {
        "image_start_id": token_id("<image>"),
        "image_end_id": token_id("</image>"),
        "slice_start_id": token_id("<img>"),
        "slice_end_id": token_id("</img>"),
        "newline_id": tiny_tokenizer().convert_tokens_to_ids("Ċ"),  # a newline, in byte-level BPE
    }
    return MiniCPMV4_7ForConditionalGeneration(MiniCPMV4_7Config(**MINICPM, **markers))


GEMMA_TOWER: dict[str, Any] = {"patch_size": 4, "pooling_kernel_size": 2}  # 8 pixels a token
GEMMA_IDS: dict[str, Any] = {
    "image_token_id": token_id("<|image|>"),
    "video_token_id": token_id("<|video|>"),
    "audio_token_id": None,
    "audio_config": None,
    "tie_word_embeddings": False,
}
# The second half of the layers takes keys and values from the first.
GEMMA_TEXT: dict[str, Any] = {
    **TEXT,
    "num_hidden_layers": 4,
    "head_dim": 8,
    "global_head_dim": 8,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 64,
}


def _gemma4() -> Any:
    from transformers import Gemma4Config, Gemma4ForConditionalGeneration

    layers = {
        "num_kv_shared_layers": 2,
        "hidden_size_per_layer_input": 4,
        "vocab_size_per_layer_input": VOCAB,
    }
    tower = {**GEMMA_TOWER, **TOWER, "num_key_value_heads": 4, "head_dim": 8}
    tower["position_embedding_size"] = 64  # patches along a side of a picture
    config = Gemma4Config(text_config={**GEMMA_TEXT, **layers}, vision_config=tower, **GEMMA_IDS)
    model = Gemma4ForConditionalGeneration(config)
    # What a patch hears of the others is of unit size, and would drown its own small numbers.
    for layer in model.model.vision_tower.encoder.layers:
        torch.nn.init.constant_(layer.post_attention_layernorm.weight, 0.05)
    return model


def _gemma4_unified() -> Any:
    from transformers import Gemma4UnifiedConfig, Gemma4UnifiedForConditionalGeneration

    embedder = {"mm_embed_dim": 24, "mm_posemb_size": 16, "output_proj_dims": 24}
    config = Gemma4UnifiedConfig(
        text_config={**GEMMA_TEXT, "use_bidirectional_attention": "vision"},
        vision_config={**GEMMA_TOWER, **embedder},
        **GEMMA_IDS,
    )
    return Gemma4UnifiedForConditionalGeneration(config)


# One builder a model_type: the MoE variant of Qwen3-VL is a class of its own in transformers.
BUILDERS: dict[str, Callable[[], Any]] = {
    "llava_onevision": _llava_onevision,
    "llava_next_video": _llava_next_video,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_5_omni_thinker": _qwen2_5_omni_thinker,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "qwen3_omni_moe_thinker": _qwen3_omni_moe_thinker,
    "qwen3_5": _qwen3_5,
    "qwen3_5_moe": _qwen3_5_moe,
    "glm4v": _glm4v,
    "glm4v_moe": _glm4v_moe,
    "glm46v": _glm46v,
    "internvl": _internvl,
    "smolvlm": _smolvlm,
    "video_llama_3": _video_llama_3,
    "perception_lm": _perception_lm,
    "molmo2": _molmo2,
    "minicpmv4_6": _minicpmv4_6,
    "minicpmv4_7": _minicpmv4_7,
    "gemma4": _gemma4,
    "gemma4_unified": _gemma4_unified,
}
FAMILIES = tuple(BUILDERS)

# The families with a pixel budget get a small one: a 48 x 64 frame becomes 56 x 56, 2 x 2 tokens
# (64 x 64 with Qwen3-VL's patches of 16 pixels).

_QWEN2 = BaseSettings(
    frames=4, min_pixels=28 * 28, max_pixels=12 * 28 * 28, mean=CLIP_MEAN, std=CLIP_STD
)
# A 48 x 64 frame becomes 2 x 3 tokens, one of 56 x 112 2 x 4.
_MINICPM = BaseSettings(frames=4, max_pixels=32 * 64)
_GEMMA = BaseSettings(frames=4, max_video_tokens=9, mean=(0, 0, 0), std=(1, 1, 1))
_QWEN3 = BaseSettings(frames=4, min_pixels=32 * 32, max_pixels=64 * 32 * 32)
_GLM = BaseSettings(
    frames=4, min_pixels=28 * 28, max_pixels=48 * 28 * 28, mean=CLIP_MEAN, std=CLIP_STD
)
SETTINGS: dict[str, BaseSettings] = {
    "minicpmv4_6": _MINICPM,
    "minicpmv4_7": _MINICPM,
    "gemma4": _GEMMA,
    "gemma4_unified": _GEMMA,
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_5_omni_thinker": _QWEN2,
    "qwen3_vl": _QWEN3,
    "qwen3_vl_moe": _QWEN3,
    # Limits of a frame, not of a clip.
    "qwen3_omni_moe_thinker": BaseSettings(frames=4, min_pixels=32 * 32, max_pixels=12 * 32 * 32),
    "qwen3_5": _QWEN3,
    "qwen3_5_moe": _QWEN3,
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm46v": _GLM,
    "video_llama_3": BaseSettings(
        frames=4, min_pixels=28 * 28, max_pixels=48 * 28 * 28, compress=True
    ),
}
