"""SmolVLM 2: square frames as a run of images, pixel shuffle, a time before each frame.

A sentence with the number of frames and the length of the video opens the text. Tokens run: frame,
row, column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from torch import Tensor

from pave.bases.families import register_family
from pave.bases.families.common import container, image_side, pooled, side_of
from pave.bases.family import Family
from pave.bases.preprocess import normalize, resize
from pave.bases.prompt import PromptStyle
from pave.bases.settings import HALF, BaseSettings
from pave.bases.visual import Clip, Layout, Visual

STYLE = PromptStyle(
    head="<|im_start|>User: ",
    after_video="",
    ask="<end_of_utterance>\nAssistant:",
    end="<end_of_utterance>",
    again="\nUser: ",
    answer=" ",
)

# transformers' processor puts this template in the place of the checkpoint's, which is the same in
# published ones, wherever there is a video. Its turns are those of `STYLE`.
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}"
    "{% elif line['type'] == 'video' %}{{ '<video>' }}{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

LONGEST = 4096
"""Most pixels of the longer edge after the first resize."""


@register_family
class SmolVLM(Family):
    """See the module's text."""

    name = "smolvlm"
    model_types = ("smolvlm",)
    placeholder = "<image>"
    style = STYLE
    template = TEMPLATE
    video_text = "<video>"
    says_duration = True
    method = "get_image_features"
    modality = "image"
    pixels = "pixel_values"
    language_model = "text_model"
    pad_frames = True
    resample = 1  # Lanczos

    def settings(self) -> BaseSettings:
        """32 frames; the longer edge first, then squared to the tower's image size."""
        side = image_side(self.config)
        return BaseSettings(frames=32, longest_edge=side, size=(side, side), mean=HALF, std=HALF)

    def layout(self, frames: int) -> Layout:
        """Where the tokens of a clip of so many frames sit."""
        patches = image_side(self.config) // self.config.vision_config.patch_size
        side = side_of(patches**2 // self.config.scale_factor**2)
        return Layout(frames, side, side)

    def prepare(self, settings: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
        """Two Lanczos resizes (the processor's own order), normalise."""
        if settings.longest_edge is not None:
            frames = resize(frames, within(frames, settings.longest_edge), "lanczos")
        square = resize(frames, settings.size, "lanczos")
        pixels = never_zero(normalize(square, settings))
        count = frames.shape[0]
        seconds = [int(time) for time in times.tolist()]  # cut off, not rounded
        length = timedelta(seconds=seconds[-1])  # all that frames alone tell; `timed` knows more
        around = "<fake_token_around_image>"
        image = f"{around}<global-img>" + self.placeholder * self.layout(1).total + around
        text = (
            f"You are provided the following series of {words(count)} frames "
            f"from a {length} [H:MM:SS] video.\n"
        )
        for second in seconds:
            text += f"\nFrame from {second // 60:02d}:{second % 60:02d}:{image}"
        return Clip({"pixel_values": pixels[None]}, times, f"{text}\n\n", count)

    def timed(self, clip: Clip, seconds: float) -> Clip:
        """The video's own length in the sentence, cut off to whole seconds as the processor's."""
        length = timedelta(seconds=int(seconds))
        text = re.sub(r"from a .*? \[H:MM:SS\]", f"from a {length} [H:MM:SS]", clip.text, count=1)
        return replace(clip, text=text)

    def split(
        self,
        output: Any,
        args: Mapping[str, Any],
        frames_per_clip: Sequence[int] | None,
        want_query: bool,
    ) -> list[Visual]:
        """A list of `[F * S, D]`; query: the mean of a shuffle block.

        The method drops padding frames, so a clip's F follows from its rows.
        """
        tokens = output.pooler_output  # one [F * S, D] a clip
        spatial = self.layout(1).spatial
        counts = [part.shape[0] // spatial for part in tokens]
        queries: Sequence[Tensor | None] = [None] * len(counts)
        if want_query:
            blocks = pooled(output.last_hidden_state, self.config.scale_factor)
            queries = blocks.split(counts)  # one [F, S, C_q] a clip
        visuals = []
        for part, count, query in zip(tokens, counts, queries, strict=True):
            visuals.append(Visual(part, self.layout(count), query))
        return visuals

    def join(self, visuals: Sequence[Visual], output: Any | None) -> Any:
        """A list with one tensor a clip."""
        return container(output, [visual.tokens for visual in visuals])


def within(frames: Tensor, longest: int) -> tuple[int, int]:
    """Height and width with the longer edge at `longest`, the shorter in proportion and even.

    Its processor has a bound of its own, whatever a file asks for.
    """
    longest = min(longest, LONGEST)
    height, width = frames.shape[-2:]
    if width >= height:
        short = int(longest / (width / height))
        return max(short + short % 2, 1), longest
    short = int(longest * (width / height))
    return longest, max(short + short % 2, 1)


def never_zero(pixels: Tensor) -> Tensor:
    """`[F, 3, H, W]` with no frame zero everywhere, in place.

    The model drops such frames as padding; a black frame with mean 0 would be one of them.
    """
    empty = (pixels == 0).flatten(1).all(1)
    pixels[empty, 0, 0, 0] = 1e-4
    return pixels


_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
_TENS = [
    "zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
]  # fmt: skip


def words(number: int) -> str:
    """A number below a thousand in English words, as the model's prompt has it.

    Example:
        >>> words(132)
        'one hundred and thirty-two'
    """
    if number < 20:
        return _SMALL[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return f"{_TENS[tens]}-{_SMALL[ones]}" if ones else _TENS[tens]
    if number < 1000:
        hundreds, rest = divmod(number, 100)
        text = f"{_SMALL[hundreds]} hundred"
        return f"{text} and {words(rest)}" if rest else text
    return str(number)
