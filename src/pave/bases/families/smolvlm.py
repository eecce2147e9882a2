"""SmolVLM 2: square frames as a run of images, pixel shuffle, a sentence about the video and a time before each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from torch import Tensor

from pave.bases.families.common import container, pool_mean, side_of
from pave.bases.family import Clip, Family, PromptStyle
from pave.bases.preprocess import HALF, BaseSettings, normalize, resize
from pave.bases.visual import Layout, Visual


def split(
    config: Any,
    output: Any,
    args: Mapping[str, Any],
    frames_per_clip: Sequence[int] | None,
    want_query: bool,
) -> list[Visual]:
    """List of `[F * S, D]`; the method drops padding frames, so F follows from the rows. Query: mean of a shuffle block."""
    tokens = output.pooler_output
    side = grid_side(config)
    counts = [part.shape[0] // side**2 for part in tokens]
    queries: Sequence[Tensor | None] = [None] * len(counts)
    if want_query:
        queries = pool_mean(output.last_hidden_state, config.scale_factor).split(counts)
    return [
        Visual(part, Layout(count, side, side), query)
        for part, count, query in zip(tokens, counts, queries, strict=True)
    ]


def join(config: Any, visuals: Sequence[Visual], output: Any | None) -> Any:
    """A list with one tensor a clip."""
    return container(output, [visual.tokens for visual in visuals])


def grid_side(config: Any) -> int:
    """Tokens along one side of a frame."""
    patches = (config.vision_config.image_size // config.vision_config.patch_size) ** 2
    return side_of(patches // config.scale_factor**2)


def query_dim(config: Any) -> int:
    """Width of the tower."""
    return int(config.vision_config.hidden_size)


def settings(config: Any) -> BaseSettings:
    """32 frames; the longer edge first, then squared to the tower's image size."""
    side = int(config.vision_config.image_size)
    return BaseSettings(frames=32, longest_edge=side, size=(side, side), mean=HALF, std=HALF)


_SMALL = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = [
    "zero",
    "ten",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
]


def words(number: int) -> str:
    """A number below a thousand in English words, as the model's prompt has it.

    Example:
        >>> words(132)
        'one hundred and thirty-two'
    """
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_SMALL[number % 10]}" if number % 10 else "")
    if number < 1000:
        return f"{_SMALL[number // 100]} hundred" + (
            f" and {words(number % 100)}" if number % 100 else ""
        )
    return str(number)


def _within(frames: Tensor, longest: int | None) -> Tensor:
    """Resize the longer edge to `longest`, the shorter one in proportion and even."""
    if longest is None:
        return frames
    height, width = frames.shape[-2:]
    if width >= height:
        short = int(longest / (width / height))
        size = (max(short + short % 2, 1), longest)
    else:
        short = int(longest * (width / height))
        size = (longest, max(short + short % 2, 1))
    return resize(frames, size, "lanczos")


def _never_zero(pixels: Tensor) -> Tensor:
    """The model drops frames that are zero everywhere as padding; a black frame with mean 0 would be one of them."""
    empty = (pixels == 0).flatten(1).all(1)
    pixels[empty, 0, 0, 0] = 1e-4
    return pixels


def prepare(config: Any, options: BaseSettings, frames: Tensor, times: Tensor) -> Clip:
    """Two Lanczos resizes (the processor's own order), normalise; the length of the video is that of its last frame."""
    square = resize(_within(frames, options.longest_edge), options.frame_size(), "lanczos")
    count, seconds = frames.shape[0], [int(t) for t in times.tolist()]
    image = (
        "<fake_token_around_image><global-img>"
        + "<image>" * grid_side(config) ** 2
        + "<fake_token_around_image>"
    )
    length = timedelta(seconds=seconds[-1])
    text = f"You are provided the following series of {words(count)} frames from a {length} [H:MM:SS] video.\n"
    text += "".join(f"\nFrame from {s // 60:02d}:{s % 60:02d}:{image}" for s in seconds) + "\n\n"
    return Clip({"pixel_values": _never_zero(normalize(square, options))[None]}, times, text, count)


STYLE = PromptStyle(
    head="<|im_start|>User: ",
    after_video="",
    ask="<end_of_utterance>\nAssistant:",
    end="<end_of_utterance>",
    again="\nUser: ",
    answer=" ",
)

SPEC = Family(
    name="smolvlm",
    model_types=("smolvlm",),
    split=split,
    join=join,
    query_dim=query_dim,
    prepare=prepare,
    settings=settings,
    style=STYLE,
    placeholder="<image>",
    method="get_image_features",
    modality="image",
    pixels="pixel_values",
    language_model="text_model",
    pad_frames=True,
)

SPECS = (SPEC,)
