"""Bases in the key naming of LLaVA's own code, as Hugging Face's LLaVA-OneVision.

These are the folders `lmms-lab/llava-onevision-qwen2-*`.

The weights are the same, three things are not:

- **Names**: `model.vision_tower.vision_tower.*`, `model.mm_projector.{0,2}.*` and the language
  model without a prefix.
- **Sizes of the tower** are in no file of the folder: they are read off the tensors' shapes. Its
  number of attention heads cannot be; SigLIP's published widths tell it, and `vision_config` in
  `config.json` may say it for others.
- **Vocabulary**: LLaVA's code cuts word embeddings and head to the tokenizer's length when it loads
  a model, and puts -200 where the video goes. Here the head is cut in the same way, so that
  probabilities agree, while two rows of the embedding stay for the placeholders `<image>` and
  `<video>`.

LLaVA drops the last layer of SigLIP and reads the one before it without the final norm; the folder
holds the layers that are left, and Hugging Face's `vision_feature_layer=-1` reads the same place.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pave.bases.hub import access
from pave.bases.inputs import InputSpec
from pave.bases.settings import HALF, BaseSettings
from pave.bases.source import (
    INDEX,
    WHOLE,
    in_transformers,
    must_be_whole,
    must_hold_shards,
    read_json,
)
from pave.errors import BaseError

log = logging.getLogger(__name__)

# The projector is a Sequential of linear, GELU, linear: its second linear map is number 2.
KEY_MAPPING = {
    r"^model\.vision_tower\.vision_tower\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
}
PLACEHOLDERS = ("<image>", "<video>")

# Fields of config.json that a Qwen2 config of Hugging Face knows; the rest is LLaVA's own.
_TEXT = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "hidden_act", "max_position_embeddings", "rms_norm_eps", "bos_token_id",
    "eos_token_id", "attention_dropout", "initializer_range",
)  # fmt: skip
# Width of SigLIP base, large and so400m -> attention heads.
_HEADS = {768: 12, 1024: 16, 1152: 16}
_TOWER = "model.vision_tower.vision_tower.vision_model."


@dataclass(frozen=True)
class LlavaFiles:
    """What the folder says without its weights.

    Attributes:
        config: Hugging Face's configuration; its vocabulary has as many words as the head will
            have.
        rows: Rows of the word embedding in the file.
        words: Length of the tokenizer, hence rows of the head.
        tokenizer: With the two placeholders.
        inputs: How clips are fed: as config.json says.
    """

    config: Any
    rows: int
    words: int
    tokenizer: Any
    inputs: InputSpec


def read_llava(source: str) -> LlavaFiles:
    """Read configuration, shapes and tokenizer.

    Raises:
        BaseError: If tensors are missing, or it is not a Qwen2 model behind a SigLIP tower and a
            two-layer projector.
    """
    from transformers import AddedToken, Qwen2Tokenizer

    raw = read_json(source, "config.json")
    _must_be_onevision(source, raw)
    inputs = _inputs(source, raw)
    if raw.get("add_time_instruction"):
        log.warning(
            "%s: add_time_instruction in config.json: in training a sentence with the video's "
            "length and the times of its frames stood before each question; pave writes none, so "
            "put one into the question",
            source,
        )
    shapes = _shapes(source)
    # One tensor of each part. A folder whose tower is not saved with it names one on the Hub
    # instead, and other LLaVAs have no newline or another projector.
    for key in (
        "model.embed_tokens.weight",
        "model.image_newline",
        "model.mm_projector.2.weight",
        f"{_TOWER}encoder.layers.0.",
    ):
        if not any(name.startswith(key) for name in shapes):
            raise BaseError(
                f"{source}: holds no {key}; only LLaVA-OneVision models with their tower can be "
                f"read; {in_transformers(source)}"
            )
    tokenizer = Qwen2Tokenizer.from_pretrained(source, **access(source))
    # A tokenizer that was saved again may hold the placeholders already; the head has no such rows.
    known = tokenizer.get_vocab()
    words = len(tokenizer) - sum(text in known for text in PLACEHOLDERS)
    rows = shapes["model.embed_tokens.weight"][0]  # of [rows, D]
    if words > rows:
        raise BaseError(
            f"{source}: the tokenizer has {words} tokens but the model embeds {rows}; they do "
            "not belong together"
        )
    added = [AddedToken(text, special=True, normalized=False) for text in PLACEHOLDERS]
    tokenizer.add_tokens(added, special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(list(PLACEHOLDERS))
    config = _config(raw, shapes, words, ids)
    return LlavaFiles(config, rows, words, tokenizer, inputs)


# What of config.json changes the model or its tokens in LLaVA's own code -> values that are read.
_READ: dict[str, tuple[Any, ...]] = {
    "architectures": (["LlavaQwenForCausalLM"],),
    "mm_projector_type": ("mlp2x_gelu",),
    "mm_resampler_type": (None,),
    "mm_use_im_start_end": (None, False),
    "quantization_config": (None,),
    "rope_scaling": (None,),
    "use_sliding_window": (None, False),
    "add_faster_video": (None, False),  # a second, coarser row of frames between the frames
    "mm_spatial_pool_stride": (None, 2),
    "mm_patch_merge_type": (None, "flat", "spatial", "spatial_unpad"),
    "mm_newline_position": (None, "one_token", "grid", "frame", "no_token"),
    "mm_spatial_pool_mode": (None, "bilinear", "average", "max"),
}


def _must_be_onevision(source: str, raw: Mapping[str, Any]) -> None:
    """Refuse what would load as a LLaVA-OneVision and is another model, or is fed otherwise."""
    for key, values in _READ.items():
        if key in raw and raw[key] not in values:
            raise BaseError(
                f"{source}: {key} is {raw[key]!r} in config.json; in LLaVA's own naming pave reads "
                f"{' or '.join(repr(value) for value in values if value is not None) or 'none'}; "
                f"{in_transformers(source)}"
            )


def _inputs(source: str, raw: Mapping[str, Any]) -> InputSpec:
    """How LLaVA's own code would feed clips to it."""
    newline = raw.get("mm_newline_position") or "one_token"
    merge = raw.get("mm_patch_merge_type") or "flat"
    # That code puts newlines with the merge types "spatial*" alone, the one at the end only with
    # "unpad".
    if merge == "flat" or (newline == "one_token" and "unpad" not in merge):
        newline = "no_token"
    pool = raw.get("mm_spatial_pool_mode") or "bilinear"
    inputs = InputSpec(newline=newline, pool=pool)
    if inputs.native:
        return inputs
    log.info(
        "%s: inputs follow config.json, newline %s and pool %s, in LLaVA's chat format",
        source,
        newline,
        pool,
    )
    # transformers has no such model: it knows no other prompt and filter than those of LLaVA.
    return InputSpec(newline=newline, pool=pool, chat="llava", resize="pillow")


def llava_settings(config: Any) -> BaseSettings:
    """What LLaVA's own image processor does to SigLIP's frames."""
    side = int(config.vision_config.image_size)
    return BaseSettings(frames=32, size=(side, side), mean=HALF, std=HALF)


def load_llava(source: str, files: LlavaFiles, options: Mapping[str, Any]) -> Any:
    """The model, its vocabulary cut to the tokenizer's.

    Args:
        source: Folder or Hub id.
        files: What `read_llava` found.
        options: For `from_pretrained`, such as the type.

    Raises:
        BaseError: If a tensor is missing or has another shape than the configuration says.
    """
    from transformers import LlavaOnevisionForConditionalGeneration

    text = files.config.text_config
    # As the file has it for now: from_pretrained takes no tensor of another shape.
    text.vocab_size = files.rows
    model, report = LlavaOnevisionForConditionalGeneration.from_pretrained(
        source,
        config=files.config,
        key_mapping=KEY_MAPPING,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # `must_be_whole` names them
        **access(source),
        **options,
    )
    must_be_whole(source, model, report)
    _cut(model, files.words)
    return model


def _cut(model: Any, words: int) -> None:
    """Head with `words` rows, embedding with two more for the placeholders.

    A tied head shares the embedding's memory.
    """
    known = model.get_input_embeddings().weight.detach()  # [rows, D]
    wanted = words + len(PLACEHOLDERS)
    table = known[:wanted]  # a view, so that a tied head goes on to share its memory
    missing = wanted - table.shape[0]
    if missing > 0:
        # Zeros will do: visual tokens take the place of every placeholder's embedding.
        table = torch.cat([known, known.new_zeros(missing, known.shape[1])])
    head = model.lm_head.weight.detach()[:words]  # [words, D]
    model.set_input_embeddings(nn.Embedding.from_pretrained(table, freeze=True))
    # On meta, so that no second head of 150,000 rows is made only to be thrown away.
    model.lm_head = nn.Linear(head.shape[1], words, bias=False, device="meta")
    model.lm_head.weight = nn.Parameter(head, requires_grad=False)
    text = model.config.get_text_config()
    text.vocab_size = words
    # They differ in rows now: tying them again would undo the cut.
    text.tie_word_embeddings = False
    model.config.tie_word_embeddings = False


def _config(
    raw: Mapping[str, Any], shapes: Mapping[str, list[int]], words: int, placeholders: list[int]
) -> Any:
    from transformers import LlavaOnevisionConfig

    theta = float(raw.get("rope_theta", 1e6))
    # A tied head is not in the file; config.json need not say so.
    tied = bool(raw.get("tie_word_embeddings", False)) or "lm_head.weight" not in shapes
    text = {key: raw[key] for key in _TEXT if raw.get(key) is not None}
    more = {}
    pinpoints = raw.get("image_grid_pinpoints")
    # Some folders say "(1x1),...,(6x6)" instead. They cut images, which pave does not use.
    if isinstance(pinpoints, list):
        more["image_grid_pinpoints"] = pinpoints
    return LlavaOnevisionConfig(
        vision_config={**_vision(raw, shapes), **(raw.get("vision_config") or {})},
        text_config={
            "model_type": "qwen2",
            "vocab_size": words,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta},
            "tie_word_embeddings": tied,
            **text,
        },
        image_token_index=placeholders[0],
        video_token_index=placeholders[1],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=tied,
        **more,
    )


def _vision(raw: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> dict[str, Any]:
    """The tower's configuration from its tensors' shapes and its name."""
    width, _, patch, _ = shapes[f"{_TOWER}embeddings.patch_embedding.weight"]  # [C, 3, p, p]
    positions = shapes[f"{_TOWER}embeddings.position_embedding.weight"][0]  # of [g * g, C]
    side = math.isqrt(positions)
    size = side * patch
    # 384 pixels hold 27 patches of 14 and six pixels more, which only the tower's name tells.
    named = re.search(r"-(\d+)$", str(raw.get("mm_vision_tower", "")))
    if named and int(named[1]) // patch == side:
        size = int(named[1])
    layers = set()
    for key in shapes:
        layer = re.match(rf"{re.escape(_TOWER)}encoder\.layers\.(\d+)\.", key)
        if layer:
            layers.add(layer[1])
    guess = max(2, width // 72)  # so400m's heads are 72 wide
    if width not in _HEADS and "vision_config" not in raw:
        log.warning(
            "the vision tower is %d wide, which no SigLIP is; assuming %d attention heads",
            width,
            guess,
        )
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": width,
        "intermediate_size": shapes[f"{_TOWER}encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": _HEADS.get(width, guess),
        "image_size": size,
        "patch_size": patch,
        "vision_use_head": False,  # SigLIP's pooling head serves its own training only
    }


def _shapes(source: str) -> dict[str, list[int]]:
    """Shape of every tensor, from the headers of the safetensors files."""
    from safetensors import SafetensorError, safe_open
    from transformers.utils import cached_file

    must_hold_shards(source)
    index = read_json(source, INDEX)
    names = [WHOLE]
    if index:  # tensor -> file, where a model is spread over several
        names = sorted(set(index["weight_map"].values()))
    shapes: dict[str, list[int]] = {}
    try:
        for name in names:
            file = cached_file(source, name, **access(source))
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - it is no mapping
                    shapes[key] = tensors.get_slice(key).get_shape()
    except (OSError, SafetensorError) as error:
        raise BaseError(
            f"{source}: its weights cannot be read ({str(error).splitlines()[0]}); download it "
            "again"
        ) from error
    return shapes
