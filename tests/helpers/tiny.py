"""Tiny random models of every family, with a byte-level tokenizer made in code, for everybody's tests. No downloads.

    base = tiny.base("llava_onevision")              # a frozen pave.bases.Base, < 0.3 s
    clip = base.clip(tiny.frames(4))                 # a clip of 4 frames, half a second apart
    tiny.inputs(base, frames=(4, 4))                 # model inputs with one clip a row

The weights are spread (normal 0.15), because the usual initialisation makes tiny models nearly
blind to their input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from pave.bases import Base, BaseSettings, Clip, load_base
from pave.bases.preprocess import CLIP_MEAN, CLIP_STD

SPECIALS = (
    "<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<image>", "<video>", "<|vision_start|>", "<|vision_end|>",
    "<|image_pad|>", "<|video_pad|>", "<img>", "</img>", "<IMG_CONTEXT>", "<fake_token_around_image>", "<global-img>",
    "<end_of_utterance>", "<|endoftext|>",
)  # fmt: skip
HIDDEN = 32
VOCAB = 256 + len(SPECIALS)


@dataclass(frozen=True)
class Frames:
    """What the decoder hands out: `pixels [F, 3, H, W]` uint8 and `times [F]` seconds."""

    pixels: Tensor
    times: Tensor


def token(text: str) -> int:
    """Id of a special token."""
    return 256 + SPECIALS.index(text)


def tokenizer(bos: bool = False) -> Any:
    """A byte-level tokenizer: one id a byte, and the special tokens of all families."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(
        models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in SPECIALS]
    )
    if bos:
        inner.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", token("<s>"))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


TEXT: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "pad_token_id": token("<pad>"), "bos_token_id": token("<s>"),
    "eos_token_id": token("</s>"), "tie_word_embeddings": False,
}  # fmt: skip
TOWER: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def _llava_onevision() -> tuple[Any, BaseSettings | None]:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    tower = {
        "model_type": "siglip_vision_model",
        "image_size": 42,
        "patch_size": 14,
        "vision_use_head": False,
        **TOWER,
    }
    config = LlavaOnevisionConfig(
        vision_config=tower,
        text_config={"model_type": "qwen2", **TEXT},
        image_token_id=token("<image>"),
        video_token_id=token("<video>"),
        image_grid_pinpoints=[[42, 42]],
    )
    return LlavaOnevisionForConditionalGeneration(config), None


def _llava_next_video() -> tuple[Any, BaseSettings | None]:
    from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration

    tower = {
        "model_type": "clip_vision_model",
        "image_size": 56,
        "patch_size": 14,
        "projection_dim": 24,
        **TOWER,
    }
    config = LlavaNextVideoConfig(
        vision_config=tower,
        text_config={"model_type": "llama", **TEXT},
        image_token_index=token("<image>"),
        video_token_index=token("<video>"),
        image_grid_pinpoints=[[56, 56]],
        vision_feature_layer=-2,
        spatial_pool_mode="average",
        spatial_pool_stride=2,
        image_seq_length=16,
        video_seq_length=16,
    )
    return LlavaNextVideoForConditionalGeneration(config), None


MROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
VISION_IDS = {
    "image_token_id": token("<|image_pad|>"),
    "video_token_id": token("<|video_pad|>"),
    "vision_start_token_id": token("<|vision_start|>"),
    "vision_end_token_id": token("<|vision_end|>"),
}
SMALL = {
    "frames": 4,
    "min_pixels": 28 * 28,
    "max_pixels": 12 * 28 * 28,
}  # a 48 x 64 frame becomes 56 x 56: 2 x 2 tokens


def _qwen2_vl() -> tuple[Any, BaseSettings | None]:
    from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

    tower = {"depth": 2, "embed_dim": 24, "hidden_size": HIDDEN, "num_heads": 3, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        vision_config=tower, text_config={**TEXT, "rope_parameters": MROPE}, **VISION_IDS
    )
    return Qwen2VLForConditionalGeneration(config), BaseSettings(
        mean=CLIP_MEAN, std=CLIP_STD, **SMALL
    )


def _qwen2_5_vl() -> tuple[Any, BaseSettings | None]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    tower = {
        "depth": 2, "hidden_size": 24, "out_hidden_size": HIDDEN, "num_heads": 3, "intermediate_size": 32, "window_size": 56,
        "fullatt_block_indexes": [1],
    }  # fmt: skip
    config = Qwen2_5_VLConfig(
        vision_config=tower, text_config={**TEXT, "rope_parameters": MROPE}, **VISION_IDS
    )
    return Qwen2_5_VLForConditionalGeneration(config), BaseSettings(
        mean=CLIP_MEAN, std=CLIP_STD, **SMALL
    )


QWEN3_TOWER: dict[str, Any] = {
    "depth": 3, "hidden_size": 24, "out_hidden_size": HIDDEN, "num_heads": 3, "intermediate_size": 32, "patch_size": 16,
    "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64,
}  # fmt: skip
QWEN3_TEXT: dict[str, Any] = {
    **TEXT,
    "head_dim": 8,
    "rope_parameters": {**MROPE, "mrope_interleaved": True},
}
QWEN3_SMALL = {"frames": 4, "min_pixels": 1024, "max_pixels": 64 * 1024}


def _qwen3_vl() -> tuple[Any, BaseSettings | None]:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(vision_config=QWEN3_TOWER, text_config=QWEN3_TEXT, **VISION_IDS)
    return Qwen3VLForConditionalGeneration(config), BaseSettings(**QWEN3_SMALL)


def _qwen3_vl_moe() -> tuple[Any, BaseSettings | None]:
    from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

    experts = {
        "num_experts": 2,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "decoder_sparse_step": 1,
    }
    config = Qwen3VLMoeConfig(
        vision_config=QWEN3_TOWER, text_config={**QWEN3_TEXT, **experts}, **VISION_IDS
    )
    return Qwen3VLMoeForConditionalGeneration(config), BaseSettings(**QWEN3_SMALL)


def _internvl() -> tuple[Any, BaseSettings | None]:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    config = InternVLConfig(
        vision_config={"image_size": 56, "patch_size": 14, **TOWER},
        text_config={"model_type": "qwen2", **TEXT},
        image_token_id=token("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    return InternVLForConditionalGeneration(config), None


def _smolvlm() -> tuple[Any, BaseSettings | None]:
    from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config={"image_size": 56, "patch_size": 14, **TOWER},
        text_config={"model_type": "llama", **TEXT},
        image_token_id=token("<image>"),
        scale_factor=2,
        pad_token_id=token("<pad>"),
    )
    return SmolVLMForConditionalGeneration(config), None


def _video_llama_3() -> tuple[Any, BaseSettings | None]:
    from transformers import VideoLlama3Config, VideoLlama3ForConditionalGeneration

    ids = {key: VISION_IDS[key] for key in ("image_token_id", "video_token_id")}
    config = VideoLlama3Config(
        vision_config={"patch_size": 14, **TOWER, "hidden_size": 32},
        text_config={"model_type": "qwen2", **TEXT},
        **ids,
    )
    settings = BaseSettings(frames=4, min_pixels=28 * 28, max_pixels=48 * 28 * 28, compress=True)
    return VideoLlama3ForConditionalGeneration(config), settings


BUILDERS: dict[str, Callable[[], tuple[Any, BaseSettings | None]]] = {
    "llava_onevision": _llava_onevision,
    "llava_next_video": _llava_next_video,
    "qwen2_vl": _qwen2_vl,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "qwen3_vl_moe": _qwen3_vl_moe,
    "internvl": _internvl,
    "smolvlm": _smolvlm,
    "video_llama_3": _video_llama_3,
}
FAMILIES = tuple(BUILDERS)


def base(family: str = "llava_onevision", seed: int = 0) -> Base:
    """A tiny frozen base of a family; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, settings = BUILDERS[family]()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.15)
    return load_base(model, tokenizer(), settings=settings, name=f"tiny-{family}")


def frames(
    count: int, height: int = 48, width: int = 64, seed: int = 0, fps: float = 2.0
) -> Frames:
    """Random frames; frame i is shown at `i / fps` seconds."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(
        0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8
    )
    return Frames(pixels, torch.arange(count, dtype=torch.float64) / fps)


def clips(
    base: Base, counts: Sequence[int] = (4, 4), height: int = 48, width: int = 64
) -> list[Clip]:
    """One clip of random frames for each count."""
    return [base.clip(frames(count, height, width, seed)) for seed, count in enumerate(counts)]


def inputs(
    base: Base, counts: Sequence[int] = (4, 4), question: str = "What?", pad: str = "left"
) -> dict[str, Tensor]:
    """Model inputs for one random clip and one question a row; questions differ in length."""
    made = clips(base, counts)
    asked = [
        base.encode_prompt(clip.text, [(question + "?" * row, None)]).ask()
        for row, clip in enumerate(made)
    ]
    return base.batch(asked, made, pad=pad)
