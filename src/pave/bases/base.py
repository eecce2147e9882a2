"""`Base`: a frozen pretrained Video LLM with the few operations that patches, training and asking need of it."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pave.bases.family import Clip, Family
from pave.bases.inputs import InputSpec
from pave.bases.origin import Absent, Origin
from pave.bases.preprocess import BaseSettings
from pave.bases.prompt import Prompt, encode_prompt, pad_prompts
from pave.bases.visual import Visual
from pave.errors import BaseError

if TYPE_CHECKING:
    from pave.media import Frames


# transformers hooks into layers for the length of a call to hand out hidden states; threads that
# encode channels with the tower while the clips' own frames go through it would take each other's.
_ONE_AT_A_TIME = threading.Lock()


class Base:
    """A frozen base model, its tokenizer and its family's facts.

    Args:
        model: A Hugging Face `*ForConditionalGeneration`; it is put in eval mode and all its
            parameters are frozen.
        tokenizer: Its tokenizer.
        spec: The family; `load_base` finds it from the model's `model_type`.
        settings: How frames are prepared; the family's defaults when not given.
        name: What to call the base in messages and patch files (its Hub id or folder).
        origin: Where the weights come from, for a base that may be loaded without its tower.

    Raises:
        BaseError: If the tokenizer lacks the family's placeholder token or gives it another id than
            the model's config.

    Example:
        >>> base = load_base("smol")                                         # doctest: +SKIP
        >>> clip = base.clip(read_frames("concert.mp4", Uniform(4)))         # doctest: +SKIP
        >>> prompt = base.encode_prompt(clip.text, [("What is playing?", None)])  # doctest: +SKIP
        >>> ids = base.model.generate(**base.batch([prompt.ask()], [clip], pad="left"))  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        spec: Family,
        settings: BaseSettings | None = None,
        name: str = "",
        origin: Origin | None = None,
    ) -> None:
        """Freeze the model and check that tokenizer and model belong together."""
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.family = self._family = spec
        self.settings = self._own_settings = settings or spec.settings(model.config)
        self.inputs = InputSpec()
        self.origin = origin
        self.name = name or str(getattr(model.config, "_name_or_path", "") or spec.name)
        self.placeholder_id = self._placeholder_id()

    def _placeholder_id(self) -> int:
        wanted = getattr(self.model.config, f"{self.family.modality}_token_id", None)
        found = self.tokenizer.convert_tokens_to_ids(self.family.placeholder)
        if wanted is None or found != wanted:
            raise BaseError(
                f"{self.name}: the tokenizer gives {self.family.placeholder!r} the id {found} but "
                "the model's config says "
                f"{wanted}; load the tokenizer from the same folder as the model"
            )
        return int(found)

    def use(self, inputs: InputSpec) -> None:
        """Be fed in this way from now on: clips, prompts, visual tokens and the seam of a `PatchedModel` all follow.

        Args:
            inputs: As a patch declares it; `InputSpec()` is the family's own way.

        Raises:
            BaseError: If the family cannot be fed in another way than its own.
        """
        if inputs == self.inputs:
            return
        adapt = self._family.adapt
        if adapt is None and not inputs.native:
            raise BaseError(
                f"{self._family.name} can only be fed in its own way; these inputs belong to a "
                "LLaVA-OneVision base"
            )
        for name in self.family.shadows:
            self.inner.__dict__.pop(name, None)
        self.family = (
            self._family if adapt is None or inputs.native else adapt(self._family, inputs)
        )
        self.inner.__dict__.update(self.family.shadows)
        self.settings = self._own_settings.model_copy(
            update={"frames": inputs.frames or self._own_settings.frames}
        )
        self.inputs = inputs

    @property
    def config(self) -> Any:
        """The model's config."""
        return self.model.config

    @property
    def inner(self) -> Any:
        """The inner model that owns the tower method the seam replaces."""
        return self.model.model

    @property
    def tower_loaded(self) -> bool:
        """Whether the base can see; one loaded with `tower=False` cannot until it has to."""
        return not any(isinstance(part, Absent) for part in self.inner.children())

    def load_tower(self) -> None:
        """Load the tower of a base that was loaded without it; `visual` does it by itself."""
        if self.origin is None or self.tower_loaded:
            return
        device = self.device
        for name, part in self.origin.load_tower().items():
            setattr(self.inner, name, part.to(device).eval().requires_grad_(False))

    @property
    def hidden_dim(self) -> int:
        """D, the width of projected tokens and of the language model."""
        return int(self.config.get_text_config().hidden_size)

    @property
    def query_dim(self) -> int:
        """C_q, the width of tower tokens before the projector."""
        return self.family.query_dim(self.config)

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return torch.device(next(self.model.parameters()).device)

    @property
    def dtype(self) -> torch.dtype:
        """The model's floating-point type."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the first token after it, and the model's own end-of-sequence tokens."""
        ids = self.tokenizer(self.family.style.end, add_special_tokens=False)["input_ids"][:1]
        known = getattr(self.model.generation_config, "eos_token_id", None)
        more = [] if known is None else [known] if isinstance(known, int) else list(known)
        return list(dict.fromkeys([*ids, *more]))

    def clip(self, frames: Frames) -> Clip:
        """Prepare decoded frames for the tower; torch only, any number of frames.

        Args:
            frames: `pixels [F, 3, H, W]` uint8 and `times [F]` seconds.

        Raises:
            BaseError: If there are no frames or they are not uint8 RGB.
        """
        pixels, times = frames.pixels, frames.times
        if (
            pixels.dim() != 4
            or pixels.shape[0] == 0
            or pixels.shape[1] != 3
            or pixels.dtype != torch.uint8
        ):
            raise BaseError(
                f"frames must be uint8 [F, 3, H, W] with F >= 1, got {pixels.dtype} "
                f"{tuple(pixels.shape)}"
            )
        return self.family.prepare(
            self.config, self.settings, pixels.contiguous(), times.to(torch.float64)
        )

    def light(self, clip: Clip) -> Clip:
        """The clip without its pixels, to go with visual tokens that come from a cache."""
        return replace(
            clip,
            pixels={key: value for key, value in clip.pixels.items() if key != self.family.pixels},
        )

    def encode_prompt(self, text: str, turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Ids of a clip's text and its turns, see `pave.bases.prompt.encode_prompt`."""
        return encode_prompt(self.tokenizer, self.family.style, text, turns)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Generated ids -> answer text without special tokens and outer white space."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def batch(
        self,
        prompts: Sequence[Sequence[int]],
        clips: Sequence[Clip] | None = None,
        pad: str = "right",
    ) -> dict[str, Tensor]:
        """Model inputs, ready for `forward` and `generate`, on the model's device.

        Args:
            prompts: Ids of each row.
            clips: One clip a row, in the same order. Those that went through `light` (their visual
                tokens come from a cache) bring only what the language model needs to know of the
                grid. None gives a text-only batch.
            pad: "right" for training, "left" for generation.

        Raises:
            BaseError: If a prompt's placeholders do not fit its clip, or if the family cannot batch
                these clips.
        """
        pad_id = self.tokenizer.pad_token_id
        ids, mask = pad_prompts(
            prompts, self.tokenizer.eos_token_id if pad_id is None else pad_id, pad
        )
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.family.mrope:
            inputs["mm_token_type_ids"] = self._token_types(ids)
        if clips:
            self._check_placeholders(prompts, clips)
            inputs |= self._collate([clip.pixels for clip in clips])
        return {key: self._place(value) for key, value in inputs.items()}

    def _check_placeholders(self, prompts: Sequence[Sequence[int]], clips: Sequence[Clip]) -> None:
        if len(clips) != len(prompts):
            raise BaseError(f"{len(prompts)} prompts need as many clips, got {len(clips)}")
        for row, (prompt, clip) in enumerate(zip(prompts, clips, strict=True)):
            found, wanted = (
                list(prompt).count(self.placeholder_id),
                clip.text.count(self.family.placeholder),
            )
            if found != wanted:
                raise BaseError(
                    f"row {row}: the prompt holds {found} placeholders {self.family.placeholder} "
                    f"but its clip has {wanted} "
                    "tokens; build the prompt from this clip's text and keep the placeholder out "
                    "of questions"
                )

    def _token_types(self, ids: Tensor) -> Tensor:
        """0 text, 1 image, 2 video: what the multi-axial families compute their positions from."""
        video, image = int(self.config.video_token_id), int(self.config.image_token_id)
        return (ids == video).int() * 2 + (ids == image).int()

    def _collate(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {key: self._stack(key, [part[key] for part in parts]) for key in parts[0]}

    def _stack(self, key: str, tensors: Sequence[Tensor]) -> Tensor:
        if self.family.pad_frames and key == self.family.pixels:
            most = max(t.shape[1] for t in tensors)
            tensors = [F.pad(t, (0, 0, 0, 0, 0, 0, 0, most - t.shape[1])) for t in tensors]
        if len({t.shape[1:] for t in tensors}) > 1:
            raise BaseError(
                f"{self.family.name} takes clips of one length in a batch, got "
                f"{[tuple(t.shape[1:]) for t in tensors]}; "
                "use as many frames for each, or encode them one by one with `visual`"
            )
        return torch.cat(list(tensors))

    def _place(self, tensor: Tensor) -> Tensor:
        """Pixels take the model's type; one number a clip (the seconds of a step) keeps its own."""
        pixels = tensor.is_floating_point() and tensor.dim() > 1
        return tensor.to(self.device, self.dtype if pixels else tensor.dtype)

    @torch.no_grad()
    def visual(self, clips: Sequence[Clip], want_query: bool = True) -> list[Visual]:
        """Run the frozen tower, one clip at a time, so that a clip's tokens never depend on its batch.

        Args:
            clips: What `clip` made.
            want_query: Whether to keep the tower tokens before the projector too.
        """
        self.load_tower()
        return [self._encode(clip, want_query) for clip in clips]

    def _encode(self, clip: Clip, want_query: bool) -> Visual:
        # The class's own method: a seam that sits on the instance must not add residuals to what
        # may be cached.
        method = getattr(type(self.inner), self.family.method)
        wanted = inspect.signature(method).parameters
        args = {key: self._place(value) for key, value in clip.pixels.items() if key in wanted}
        with _ONE_AT_A_TIME:
            output = method(self.inner, **args, return_dict=True)
        return self.family.split(self.config, output, args, [clip.frames], want_query)[0]

    def join(self, visuals: Sequence[Visual]) -> Any:
        """The container for `mm_encoder_outputs={family.modality: ...}`: forward and generate then skip the tower."""
        tensors = [
            replace(
                v, tokens=v.tokens.to(self.device), extra=tuple(e.to(self.device) for e in v.extra)
            )
            for v in visuals
        ]
        return self.family.join(self.config, tensors, None)

    def fingerprint(self) -> dict[str, Any]:
        """What a patch must agree with to be attached to this base."""
        text = self.config.get_text_config()
        return {
            "family": self.family.name,
            "model_type": self.config.model_type,
            "hidden_dim": self.hidden_dim,
            "query_dim": self.query_dim,
            "layers": int(text.num_hidden_layers),
            "vocab_size": int(text.vocab_size),
            "frames_per_step": self.family.frames_per_step(self.config),
            "token_layout": self._family.token_layout,
        }
