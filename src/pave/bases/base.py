"""`Base`: a frozen pretrained Video LLM with the few operations that patches and asking need.

A clip takes this way through it: decoded frames -> `clip` (pixels for the tower, placeholders for
the prompt) -> `visual` (the tower's tokens, which may be cached) -> `join` (the container that
forward and generate take instead of pixels), beside `encode_prompt` -> `batch` for the words.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from tokenizers import AddedToken
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from pave.arguments import as_flag, as_kind, as_list_of, as_text, as_whole
from pave.bases.family import Family
from pave.bases.inputs import InputSpec
from pave.bases.origin import Absent, Origin
from pave.bases.prompt import ChatFormat, Prompt, PromptStyle, check_turns, context_length
from pave.bases.settings import BaseSettings
from pave.bases.visual import Clip, Visual
from pave.errors import BaseError, ConfigError
from pave.media import Frames
from pave.texts import counted

if TYPE_CHECKING:
    from pave.bases.template import ChatTemplate


# transformers hooks into layers for the length of a call to hand out hidden states; threads that
# encode channels with the tower while the clips' own frames go through it would take each other's.
ONE_AT_A_TIME = threading.Lock()
_LOADING = threading.Lock()

# What torch and tokenizers raise at ids that are none.
_NO_IDS = (TypeError, ValueError, RuntimeError, OverflowError, KeyError)


class Base:
    """A frozen base model, its tokenizer and its family.

    Args:
        model: A Hugging Face `*ForConditionalGeneration`; it is put in eval mode and all its
            parameters are frozen.
        tokenizer: Its tokenizer.
        family: The family, made for the model's config; `load_base` finds it by `model_type`.
        settings: How frames are prepared; the family's defaults when not given.
        name: What to call the base in messages and patch files (its Hub id or folder).
        origin: Where the weights come from, for a base that may be loaded without its tower.
        inputs: How its folder says that it is fed; the family's own way when not given.
        template: Its own chat template, for its chat format; the family's when not given.

    Attributes:
        config: The model's config.
        inner: The inner model, which owns the tower method that the seam replaces.
        family: As it is fed now; `use` changes it.
        inputs: How it is fed now.
        own_inputs: How it is fed where nobody asks for another way.
        revision: Commit of its Hub id; None where there is none, or it is not known.
        tower_loaded: Whether the base can see; one loaded with `tower=False` cannot until it has
            to.
        reads_template: Whether its chat format is that of its own template, not the family's.
        template_trouble: Why its own template is not used; "" where it is, or where there is none.
        placeholder_id: Id of the token that stands for one visual token.
        chat: The chat format in use, as the tokenizer reads it.
        context: Most tokens of a prompt: what the language model was made for, stretched positions
            included; infinite for one without positions.
        hidden_dim: D, the width of projected tokens and of the language model.
        query_dim: C_q, the width of tower tokens before the projector.

    Raises:
        BaseError: If the tokenizer lacks the family's placeholder token or gives it another id than
            the model's config.

    Example:
        >>> base = load_base("smol")  # doctest: +SKIP
        >>> clip = base.clip(read_frames("concert.mp4", Uniform(4)))  # doctest: +SKIP
        >>> prompt = base.encode_prompt(clip.text, [("What is playing?", None)])  # doctest: +SKIP
        >>> inputs = base.batch([prompt.ask()], [clip], pad="left")  # doctest: +SKIP
        >>> ids = base.model.generate(**inputs)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        family: Family,
        *,
        settings: BaseSettings | None = None,
        name: str = "",
        origin: Origin | None = None,
        inputs: InputSpec | None = None,
        template: ChatTemplate | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.config: Any = model.config
        self.inner: Any = model.model
        self.tokenizer = tokenizer
        self.family = self._own_family = family
        self.settings = self._own_settings = settings or family.settings()
        self.inputs = InputSpec()
        self.origin = origin
        self.revision: str | None = None  # `load_base` knows it
        self.cut = False  # whether this process holds only a share of the layers
        self.name = name or str(getattr(model.config, "name_or_path", "") or family.name)
        self.tower_loaded = not any(isinstance(part, Absent) for part in self.inner.children())
        self.placeholder_id = self._placeholder_id()
        self._template, own = "", family.style
        self.template_trouble = ""
        if template is not None:
            self.template_trouble = template.trouble
        if template is not None and template.style is not None:
            self._template, own = template.text, template.style
        self.reads_template = own is not family.style
        self._own_style = replace(own, head=self.opened(own.head))
        self._chats: dict[PromptStyle, ChatFormat] = {}
        self.chat = self.chat_in(self._own_style)
        text = self.config.get_text_config()
        self.hidden_dim = int(text.hidden_size)
        self.context = context_length(text)
        self.query_dim = family.query_dim
        self.own_inputs = self.inputs
        if inputs is not None:
            self.own_inputs = inputs
            self.use()

    def _placeholder_id(self) -> int:
        placeholder = self.family.placeholder
        wanted = self.family.placeholder_id
        found = self.tokenizer.convert_tokens_to_ids(placeholder)
        if wanted is None or found != wanted:
            raise BaseError(
                f"{self.name}: the tokenizer gives {placeholder!r} the id {found} but the model's "
                f"config says {wanted}; load the tokenizer from the same folder as the model"
            )
        known = map(str, self.tokenizer.added_tokens_decoder.values())
        if placeholder not in known:
            # A word of the vocabulary that would be cut into pieces (Gemma 4's): transformers'
            # processor makes it a token in the same way.
            token = AddedToken(placeholder, special=True, normalized=False)
            self.tokenizer.add_tokens([token], special_tokens=True)
        return int(found)

    @property
    def style(self) -> PromptStyle:
        """The text around turns."""
        return self.chat.style

    def chat_in(self, style: PromptStyle) -> ChatFormat:
        """A chat format, which need not be the base's own, as its tokenizer reads it."""
        if style not in self._chats:
            template = self._template if style == self._own_style else ""
            made = ChatFormat(self.tokenizer, style, self._own_family.placeholder, template)
            self._chats[style] = made
        return self._chats[style]

    def opened(self, text: str) -> str:
        """The beginning of a prompt, with the token that the family wants there."""
        if not self._own_family.opens_with_bos:
            return text
        opening = str(self.tokenizer.bos_token or self.tokenizer.eos_token)
        return opening + text.removeprefix(opening)

    def use(self, inputs: InputSpec | None = None) -> None:
        """Be fed in this way from now on.

        Clips, prompts, visual tokens and the seam of a `PatchedModel` all follow.

        Args:
            inputs: As a patch declares it; `InputSpec()` is the family's own way, None the base's.

        Raises:
            BaseError: If the family cannot be fed in another way than its own.
            ConfigError: If that is no `InputSpec`.
        """
        if inputs is None:
            inputs = self.own_inputs
        as_kind(inputs, InputSpec, "the way to feed a base is a pave.InputSpec")
        if inputs == self.inputs:
            return
        family = self._own_family if inputs.native else self._own_family.adapt(inputs)
        # What a family shadows lies on the instance, where it hides the class's own method.
        for name in self.family.shadows:
            self.inner.__dict__.pop(name, None)
        self.inner.__dict__.update(family.shadows)
        frames = inputs.frames or self._own_settings.frames
        self.settings = self._own_settings.model_copy(update={"frames": frames})
        self.family = family
        self.inputs = inputs
        style = self._own_style
        if inputs.chat != "family":
            style = family.style
        self.chat = self.chat_in(style)

    def load_tower(self) -> None:
        """Load the tower of a base that was loaded without it; `visual` does it by itself."""
        with _LOADING:  # once, not once a thread
            if self.origin is None or self.tower_loaded:
                return
            device = self.device  # the model may have been moved since it was loaded
            for name, part in self.origin.load_tower().items():
                setattr(self.inner, name, part.to(device).eval().requires_grad_(False))
            self.tower_loaded = True

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
        """Ids that end an answer: the first token after it, and the model's own end tokens."""
        ids = list(self.tokenizer(self.chat.end, add_special_tokens=False)["input_ids"][:1])
        eos = getattr(self.model.generation_config, "eos_token_id", None)
        if isinstance(eos, int):  # one id or a list, as the model's folder has it
            eos = [eos]
        ids += eos or []
        return list(dict.fromkeys(ids))  # each once, in this order

    @property
    def filler_id(self) -> int:
        """Id of the token that pads prompts and answers, which is masked out or cut off."""
        own = self.tokenizer.pad_token_id
        image = getattr(self.config, "image_token_id", None)
        # LLaMA's tokenizer has none, and any token will do that stands for nothing to be seen.
        if own is None or own in (self.placeholder_id, image):
            own = self.stop_ids[0]
        return int(own)

    def clip(self, frames: Frames) -> Clip:
        """Prepare decoded frames for the tower, in its type; torch only, any number of frames.

        Args:
            frames: `pixels [F, 3, H, W]` uint8 and `times [F]` seconds.

        Raises:
            BaseError: If there are no frames or they are not uint8 RGB.
        """
        pixels = as_kind(frames, Frames, "decoded frames are a pave.Frames", BaseError).pixels
        rgb = pixels.dim() == 4 and pixels.shape[0] > 0 and pixels.shape[1] == 3
        if not rgb or pixels.dtype != torch.uint8:
            raise BaseError(
                f"frames must be uint8 [F, 3, H, W] with F >= 1, got {pixels.dtype} "
                f"{tuple(pixels.shape)}"
            )
        times = frames.times.to(torch.float64)
        clip = self.family.prepare(self.settings, pixels.contiguous(), times)
        if self.family.says_duration and frames.duration is not None:
            clip = self.family.timed(clip, frames.duration)
        ready = {}
        for key, value in clip.pixels.items():
            # One number a clip (Qwen2.5-VL's seconds of a step) keeps its own type: positions come
            # from it, and bf16 would round them.
            is_pixels = value.is_floating_point() and value.dim() > 1
            if is_pixels and not self.family.float_pixels:
                value = value.to(self.model.dtype)
            ready[key] = value
        return replace(clip, pixels=ready)

    def encode_prompt(self, text: str, turns: Sequence[tuple[str, str | None]]) -> Prompt:
        """Ids of a clip's text and its turns, in the base's chat format.

        Args:
            text: `Clip.text`, the placeholders.
            turns: `(question, answer)` pairs; an answer of None leaves the turn open (generation).
                They are a user's text: a token that they spell is no token.

        Raises:
            ConfigError: If the clip and one of its turns are longer than the model's context, or
                they are no texts.
        """
        as_text(text, "what stands for a clip is a text")
        check_turns(turns)
        prompt = self.chat.encode(text, turns)
        turn = max((len(asked) + len(closed) for asked, closed in prompt.turns), default=0)
        if len(prompt.prefix) + turn > self.context:
            places = prompt.prefix.count(self.placeholder_id)
            raise self.too_long(len(prompt.prefix) + turn, places)
        return prompt

    def too_long(self, tokens: int, places: int, frames: int = 0) -> ConfigError:
        """What is wrong with a prompt that is longer than `context`.

        Args:
            tokens: Of the prompt, or of what is known of it.
            places: How many of them are visual.
            frames: Of the clip, where they are known.
        """
        most = f"{self.context:,.0f}"
        text = (
            f"{self.name}: a prompt of {tokens:,} tokens, {places:,} of them visual, is longer "
            f"than the {most} that the model supports; "
        )
        if not frames:
            return ConfigError(text + "use fewer frames, or shorter questions and answers")
        # Those of the next number at most: words need room too.
        fewer = int(frames * self.context / tokens)
        shown = counted(frames, "frame is too many", "frames are too many")
        return ConfigError(text + f"{shown}, use {fewer:,} or fewer")

    def check_frames(self, frames: int) -> None:
        """Refuse a number of frames that never fits, before anything is decoded.

        Only where every frame has the same number of tokens: elsewhere it depends on the video,
        whose clip is looked at before the tower sees it.

        Args:
            frames: Of every clip.

        Raises:
            ConfigError: If their tokens alone are longer than the model's context, or it is no
                number of frames.
        """
        as_whole(frames, "frames", most=sys.maxsize, least=1)
        settings = self.settings
        by_budget = settings.max_pixels is not None or settings.max_video_tokens is not None
        if by_budget or math.isinf(self.context):
            return
        step = self.family.frames_per_step
        counts = []
        for number in (step, 2 * step):
            blank = torch.zeros(number, 3, 8, 8, dtype=torch.uint8)
            times = torch.arange(number, dtype=torch.float64)
            clip = self.family.prepare(settings, blank, times)
            counts.append(clip.text.count(self.family.placeholder))
        first, both = counts
        # A clip may have a token of its own beside those of its steps (a newline).
        places = first + (math.ceil(frames / step) - 1) * (both - first)
        if places > self.context:
            raise self.too_long(places, places, frames)

    def decode(self, ids: Sequence[int] | Tensor) -> str:
        """Generated ids -> answer text without special tokens and outer white space.

        Raises:
            BaseError: If they are no ids.
        """
        try:
            return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
        except _NO_IDS as error:
            _refuse_ids(ids, error)

    def batch(
        self,
        prompts: Sequence[Sequence[int]],
        clips: Sequence[Clip] | None = None,
        pad: str = "right",
        *,
        pixels: bool = True,
    ) -> dict[str, Tensor]:
        """Model inputs, ready for `forward` and `generate`, on the model's device.

        Args:
            prompts: Ids of each row.
            clips: One clip a row, in the same order. None gives a text-only batch.
            pad: "right" for training, "left" for generation.
            pixels: False leaves the pixels out, for clips whose visual tokens are there already;
                what the language model needs to know of the grid stays.

        Raises:
            BaseError: If there are no prompts, a prompt's placeholders do not fit its clip, or the
                family cannot batch these clips.
            ConfigError: If `pixels` is no bool.
        """
        prompts = as_list_of(prompts, Sequence, "prompts are a list of lists of ids", BaseError)
        if clips is not None:
            clips = as_list_of(clips, Clip, "clips are a list of what `clip` made", BaseError)
        as_flag(pixels, "pixels")
        sides = ("left", "right")
        if not prompts or not isinstance(pad, str) or pad not in sides:
            raise BaseError(
                "a batch needs at least one prompt and a padding side of left or right, got "
                f"{len(prompts)} and {pad!r}"
            )
        rows = _rows_of(prompts)
        ones = [torch.ones_like(row) for row in rows]
        # Left for generation: new tokens of every row are appended at the same index.
        ids = pad_sequence(
            rows, batch_first=True, padding_value=self.filler_id, padding_side=pad
        )  # [B, L]
        mask = pad_sequence(ones, batch_first=True, padding_value=0, padding_side=pad)  # [B, L]
        inputs = {"input_ids": ids, "attention_mask": mask}
        types = self.family.types_of(ids)
        # Generation refuses what the model does not know.
        if types is not None:
            inputs["mm_token_type_ids"] = types
        if clips:
            if len(clips) != len(prompts):
                raise BaseError(
                    f"as many clips as prompts are needed ({len(prompts)}), got {len(clips)}"
                )
            for row, (prompt, clip) in enumerate(zip(prompts, clips, strict=True)):
                found = list(prompt).count(self.placeholder_id)
                wanted = clip.text.count(self.family.placeholder)
                if found != wanted:
                    raise BaseError(
                        f"row {row}: the prompt holds {found} placeholders "
                        f"{self.family.placeholder} but its clip has {wanted} tokens; build the "
                        "prompt from this clip's text"
                    )
            for key in clips[0].pixels:
                if key == self.family.pixels and not pixels:
                    continue
                inputs[key] = self._stack(key, [clip.pixels[key] for clip in clips])
        device = self.model.device
        return {key: value.to(device) for key, value in inputs.items()}

    def _stack(self, key: str, tensors: Sequence[Tensor]) -> Tensor:
        """The tensors of several clips behind each other, along the clip or patch axis."""
        if self.family.pad_frames and key == self.family.pixels:
            most = max(t.shape[1] for t in tensors)  # of [1, F, 3, H, W]
            # At the end of the frames' axis; `F.pad` counts axes from the last one, two ends each.
            tensors = [F.pad(t, (0, 0, 0, 0, 0, 0, 0, most - t.shape[1])) for t in tensors]
        axis = 0
        if key == self.family.pixels:
            axis = self.family.pixel_axis
        # Of what is not the length of that axis.
        shapes = [tuple(tensor.narrow(axis, 0, 1).shape) for tensor in tensors]
        if len(set(shapes)) > 1:
            raise BaseError(
                f"{self.family.name} takes clips of one length in a batch, got {shapes}; "
                "use as many frames for each, or encode them one by one with `visual`"
            )
        return torch.cat(self.family.behind(key, tensors), dim=axis)

    @torch.no_grad()
    def visual(self, clips: Sequence[Clip], want_query: bool = True) -> list[Visual]:
        """Run the frozen tower, a clip at a time, so that its tokens never depend on its batch.

        Args:
            clips: What `clip` made.
            want_query: Whether to keep the tower tokens before the projector too.

        Raises:
            BaseError: If they are no clips.
            ConfigError: If `want_query` is no bool.
        """
        clips = as_list_of(clips, Clip, "clips are a list of what `clip` made", BaseError)
        as_flag(want_query, "want_query")
        if not self.tower_loaded:
            self.load_tower()
        # The class's own method: a seam that sits on the instance must not add residuals to what
        # may be cached.
        method = getattr(type(self.inner), self.family.method)
        device = self.model.device
        visuals = []
        for clip in clips:
            args = self.tower_arguments(clip.pixels)
            args = {key: value.to(device) for key, value in args.items()}
            with ONE_AT_A_TIME:
                output = method(self.inner, **args, return_dict=True)
            visuals += self.family.split(output, args, [clip.frames], want_query)
        return visuals

    def tower_arguments(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the family's method takes of a batch or of a clip's pixels, by the method's names.

        Args:
            inputs: By forward's names.
        """
        known = inspect.signature(getattr(type(self.inner), self.family.method)).parameters
        found = {key: value for key, value in inputs.items() if key in known}
        if self.family.argument and self.family.pixels in inputs:
            found[self.family.argument] = inputs[self.family.pixels]
        return found

    def join(self, visuals: Sequence[Visual]) -> Any:
        """The container for `mm_encoder_outputs={family.modality: ...}`.

        Forward and generate then skip the tower.

        Raises:
            BaseError: If they are not what `visual` made.
        """
        what = "visual tokens are a list of what `visual` made"
        visuals = as_list_of(visuals, Visual, what, BaseError)
        device = self.model.device
        here = []
        for visual in visuals:
            extra = tuple(level.to(device) for level in visual.extra)
            here.append(replace(visual, tokens=visual.tokens.to(device), extra=extra))
        return self.family.join(here, None)

    def prompt_identity(self) -> dict[str, str]:
        """What decides prompts beside settings, for runs that must not mix two formats.

        What goes without saying, the family's built-in format, is left out: so older runs are still
        recognised.
        """
        identity = {}
        if self.style != self.family.style:
            identity["chat"] = hashlib.sha256(repr(self.style).encode()).hexdigest()
        if self.family.says_duration:  # older runs said the last frame's second in its place
            identity["clip_text"] = "duration"
        return identity

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
            "frames_per_step": self.family.frames_per_step,
            # Of the family as it is by itself: a patch declares other inputs beside it.
            "token_layout": self._own_family.token_layout,
        }


def _rows_of(prompts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Each prompt's ids.

    Raises:
        BaseError: If they are none.
    """
    try:
        return [torch.tensor(list(prompt), dtype=torch.long) for prompt in prompts]
    except _NO_IDS as error:
        _refuse_ids(prompts, error)


def _refuse_ids(given: object, error: Exception) -> NoReturn:
    """Say that something is no list of ids.

    Raises:
        BaseError: Always.
    """
    shown = ascii(given)[:80]
    raise BaseError(f"ids are whole numbers from the tokenizer, got {shown}") from error
