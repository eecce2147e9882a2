"""`Family`: the few facts that tell pave where a patch meets one family of Hugging Face Video LLMs.

A family is data plus a handful of small functions, never a subclass: to support a new one, write
one file that builds a spec and register it (see docs/how-to/add-a-family.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pave.bases.inputs import InputSpec
from pave.bases.preprocess import BaseSettings
from pave.bases.visual import Visual


@dataclass(frozen=True)
class PromptStyle:
    """The text around turns.

    A prompt is `head + video + after_video` (the prefix all questions of a clip share), then per
    turn `question + ask + answer + end`, with `again` between one turn's end and the next question.

    Attributes:
        head: From the start of the sequence to the video placeholders (system turn and opening of
            the first user turn).
        after_video: Between the placeholders and the first question.
        ask: Between a question and its answer (closes the user turn, opens the assistant's).
        end: After an answer; its first token is also the stop token of generation.
        again: Opens a further user turn.
        answer: Put before every answer, where the chat format writes a space there. Part of the
            answer, so that the model learns (and predicts) it as it did in its own training.
        question: Put before every question and tokenised together with it.
        header: The end of `ask` that is learnt as a part of the answer (the assistant's header, in
            LLaVA's training).
        learnt: Tokens that are learnt wherever they stand, in questions and in the system turn too
            (LLaVA's training).
    """

    head: str
    after_video: str
    ask: str
    end: str
    again: str
    answer: str = ""
    question: str = ""
    header: str = ""
    learnt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Clip:
    """One video as a base's tower eats it.

    Attributes:
        pixels: Keyword tensors for the tower method with a leading clip axis where the family has
            one (batch of one clip).
        times: `[T]` float64 seconds, the centre of each token step (mean of the raw frames that the
            tower merges).
        text: The placeholder text that stands for the clip in the prompt, timestamps included where
            the family writes them.
        frames: Raw frames that went in (after any padding by the family).
    """

    pixels: Mapping[str, Tensor]
    times: Tensor
    text: str
    frames: int


@dataclass(frozen=True)
class Family:
    """Where and how a patch attaches to one family.

    Attributes:
        name: Family name used in messages and patch files, e.g. "llava_onevision".
        model_types: Values of `config.model_type` that belong to the family.
        method: The method of the inner model (`model.model`) that returns projected visual tokens;
            the seam replaces it.
        modality: Key of the family's features in `mm_encoder_outputs` ("video" or "image").
        pixels: Name of the pixel argument of `method`.
        split: `(config, output, call_arguments, frames_per_clip, want_query) -> one Visual per
            clip`.
        join: `(config, visuals, output_or_None) -> output` container the family's forward accepts
            (a fresh one when None).
        query_dim: `(config) -> C_q` of pre-projector tokens pooled to the token grid.
        frames_per_step: `(config) -> raw frames merged into one token step` (1, or 2 for the Qwen
            families).
        prepare: `(config, settings, frames [F, 3, H, W] uint8, times [F]) -> Clip`, torch only.
        settings: `(config) -> BaseSettings`, the family's defaults when the model folder holds no
            preprocessor config.
        style: Prompt text for this family's chat format.
        placeholder: The token that stands for one visual token in the prompt.
        language_model: Name of the language model's submodule, so that LoRA never touches a tower.
        lora_targets: Module-name endings inside the language model that get LoRA by default.
        mrope: True where positions are multi-axial (they depend on the visual grid; the inner model
            has `get_rope_index`).
        pad_frames: True where clips of one batch are padded to the same number of frames with
            all-zero ones.
        token_layout: The layout in words, kept in a patch so that it is never attached to tokens in
            another order.
        adapt: `(spec, inputs) -> spec` for families that can be fed in other ways than Hugging
            Face's; None for the others.
        native: Whether tokens come in the order of `method`; False makes the seam rearrange them in
            every call.
        shadows: Methods of the inner model to replace while this spec is in use, by name.
    """

    name: str
    model_types: tuple[str, ...]
    split: Callable[[Any, Any, Mapping[str, Any], Sequence[int] | None, bool], list[Visual]]
    join: Callable[[Any, Sequence[Visual], Any | None], Any]
    query_dim: Callable[[Any], int]
    prepare: Callable[[Any, BaseSettings, Tensor, Tensor], Clip]
    settings: Callable[[Any], BaseSettings]
    style: PromptStyle
    placeholder: str
    method: str = "get_video_features"
    modality: str = "video"
    pixels: str = "pixel_values_videos"
    frames_per_step: Callable[[Any], int] = lambda config: 1
    language_model: str = "language_model"
    lora_targets: tuple[str, ...] = (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )
    mrope: bool = False
    pad_frames: bool = False
    token_layout: str = "t*h*w"
    adapt: Callable[[Family, InputSpec], Family] | None = None
    native: bool = True
    shadows: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
