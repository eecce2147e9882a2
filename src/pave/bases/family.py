"""`Family`: the few facts and methods that tell pave where a patch meets one kind of Video LLM.

A family is one small class in one file (`pave.bases.families`, or a package of your own). It never
subclasses a model: the model stays the class that transformers has, and the family says which of
its methods returns visual tokens, how these fall apart into clips, and how frames and words are put
to it. docs/how-to/add-a-family.md writes one from nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from pave.bases.inputs import InputSpec
from pave.bases.prompt import PromptStyle
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Visual
from pave.errors import BaseError


class Family(Protocol):
    """What pave needs to know of one kind of base; an instance knows it for one model's config.

    Subclass it to get the defaults below, which suit most families of transformers; only `name`,
    `model_types`, `placeholder`, `style` and the methods without a body must be given.

    Args:
        config: The model's config.

    Attributes:
        config: As given.
        name: What the family is called in messages and patch files, e.g. "llava_onevision".
        model_types: Values of Hugging Face's `config.model_type` that belong to it.
        placeholder: The token that stands for one visual token in a prompt.
        style: The text around turns in its chat format, for checkpoints without a chat template of
            their own.
        video_text: What chat templates write in the place of `Clip.text`; empty for one
            placeholder.
        says_duration: Whether `Clip.text` tells how long the video is, which `timed` writes.
        template: The chat template that its processor puts in the place of the checkpoint's; empty
            where that counts.
        method: Method of the inner model (`model.model`) that returns projected visual tokens; the
            seam replaces it on the instance.
        modality: Key of its tokens in forward's `mm_encoder_outputs`, "video" or "image".
        pixels: Name of the pixel argument of forward, and of `method`.
        argument: Name of that argument of `method`, where it is another than forward's. generate()
            then cannot call `method` beforehand, as it does elsewhere; a patched model does.
        language_model: Name of the language model's submodule, so that LoRA never touches a tower.
        lora_targets: Endings of module names inside the language model that get LoRA by default.
        mrope: Whether positions are multi-axial: they depend on the visual grid, and the inner
            model has `get_rope_index`.
        per_frame: Name of the argument of `method` that has one entry a frame, where the frames of
            all clips come as one list that does not say where a clip ends; "" elsewhere. By itself
            the pixels of a family that sees images.
        pixel_axis: Axis of the pixels along which the clips of a batch lie behind each other.
        token_types: Whether forward takes `mm_token_type_ids` though positions run along one axis:
            who sees whom depends on which tokens are visual.
        both_ways: Whether visual tokens see each other in both directions, in all layers.
        opens_with_bos: Whether every prompt begins with the tokenizer's BOS, or its end token where
            it has none, though neither template nor tokenizer writes it.
        float_pixels: Whether the tower takes float32 pixels whatever its own type is, because it
            works on them before it rounds.
        fixed_budget: Whether the pixels of a frame are bounded by its processor's own limits,
            whatever the files of a folder say.
        old_limits: Whether its processor reads the words `min_pixels` and `max_pixels` too.
        resample: The filter that frames are resized with, as Pillow and the files number it.
        pad_frames: Whether clips of one batch are padded to the same number of frames with all-zero
            ones, which the model then drops.
        token_layout: The order of a clip's tokens in words. A patch keeps it, so that it is never
            attached to tokens in another order.
        native: Whether tokens come out of `method` in the order that `split` gives; False makes the
            seam split and join in every call, even without side tokens.
        takes_more: Whether more tokens may stand behind a clip's own (`pave.data.room`).
        media_first: Whether the chat format puts pictures first in a turn, then clips, then texts.
        between_texts: What it puts between two texts of a turn.
        shadows: Methods of the inner model to replace while this instance is in use, by name.
        generating: Entered around the model's `generate`.
    """

    name: str
    model_types: tuple[str, ...]
    placeholder: str
    style: PromptStyle
    video_text: str = ""
    says_duration: bool = False
    template: str = ""
    method: str = "get_video_features"
    modality: str = "video"
    pixels: str = "pixel_values_videos"
    argument: str = ""
    language_model: str = "language_model"
    # The projections of every LLaMA-like language model.
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
    pixel_axis: int = 0
    token_types: bool = False
    both_ways: bool = False
    opens_with_bos: bool = False
    float_pixels: bool = False
    fixed_budget: bool = False
    old_limits: bool = False
    resample: int = 3  # bicubic
    pad_frames: bool = False
    token_layout: str = "t*h*w"
    native: bool = True
    takes_more: bool = False
    media_first: bool = False
    between_texts: str = ""
    config: Any
    shadows: Mapping[str, Callable[..., Any]] = {}
    generating: contextlib.AbstractContextManager[None] = contextlib.nullcontext()

    def __init__(self, config: Any) -> None:
        self.config = config

    @property
    def query_dim(self) -> int:
        """C_q, the width of tower tokens before the projector."""
        return int(self.config.vision_config.hidden_size)

    @property
    def per_frame(self) -> str:
        """The pixels of families that see images."""
        if self.modality == "image":
            return self.pixels
        return ""

    def behind(self, key: str, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The same input of several clips, ready to be laid behind each other in a batch.

        Args:
            key: Its name.
            tensors: One a clip, each as it is alone.
        """
        return list(tensors)

    @property
    def placeholder_id(self) -> int | None:
        """Id that the model looks for where the visual tokens go; None if its config has none."""
        return getattr(self.config, f"{self.modality}_token_id", None)

    def types_of(self, ids: Tensor) -> Tensor | None:
        """0 text, 1 image, 2 video: what multi-axial positions, and masks, come from.

        Args:
            ids: `[B, L]`.

        Returns:
            `[B, L]` int; None for models that count tokens, or find the clips by themselves.
        """
        if not self.mrope and not self.token_types:
            return None
        video, image = int(self.config.video_token_id), int(self.config.image_token_id)
        return (ids == video).int() * 2 + (ids == image).int()

    @property
    def frames_per_step(self) -> int:
        """Raw frames that the tower merges into one token step: 1, or 2 for the Qwen families."""
        return 1

    def settings(self) -> BaseSettings:
        """How frames are prepared where the model's folder says nothing of it."""
        ...

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Frames as the tower eats them, in torch alone, and the text that stands for them.

        Args:
            settings: The base's, which may come from the model's folder or the user.
            frames: `[F, 3, H, W]` uint8, F >= 1.
            times: `[F]` float64 seconds.
        """
        ...

    def timed(self, clip: Clip, seconds: float) -> Clip:
        """The clip, telling how long its video is; for families that say so.

        Args:
            clip: From `prepare`, which knows the frames alone.
            seconds: Of the whole video.
        """
        return clip

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """One `Visual` a clip from what `method` returned for a batch.

        Args:
            output: The method's output, with `return_dict=True`.
            args: The arguments it was called with, by name.
            frames_per_clip: Raw frames of each clip, for families that see videos as one run of
                images; None for a single clip, and for families that can tell by themselves.
            want_query: Whether to pool the tower's tokens to the token grid (`Visual.query`).
        """
        ...

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """The container that the family's forward takes, with these clips' tokens.

        Args:
            visuals: In the order of the placeholders.
            output: What `method` returned, whose other fields are kept; None for cached tokens.
        """
        ...

    def adapt(self, inputs: InputSpec) -> Family:
        """The same family, fed in another way than its own.

        Raises:
            BaseError: If there is no other way, as for all families but LLaVA-OneVision.
        """
        raise BaseError(
            f"{self.name} can only be fed in its own way; these inputs belong to a "
            "LLaVA-OneVision base"
        )
