"""`InputSpec`: how frames and words are put to a base, where that is not Hugging Face's way.

The authors' patches know LLaVA's original code: a newline token after every row of every frame, a
system turn in the prompt, frames resized by Pillow. Hugging Face's LLaVA-OneVision holds the same
weights but feeds them differently. A patch declares what it was trained with in `patch.json`, and
loading it makes the base behave so.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MOST_FRAMES = 4096
"""More frames of one clip are a slip: at two a second that is half an hour of video."""

FrameCount = Annotated[int, Field(ge=1, le=MOST_FRAMES)]
"""Frames sampled from a clip."""

FrameWord = int | Literal["auto"]
"""Frames of a clip: a number, or those that the base's own processor would take."""


def frame_choice(value: object) -> FrameWord:
    """A number of frames, or the word auto; a command line's words are texts.

    Raises:
        ValueError: If it is neither.
    """
    if value == "auto":
        return "auto"
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    # True is an int in Python, but no number of frames.
    if type(value) is not int or not 1 <= value <= MOST_FRAMES:
        raise ValueError(
            f"must be auto, or a whole number of at least 1 and at most {MOST_FRAMES:,}"
        )
    return value


FrameChoice = Annotated[FrameWord, BeforeValidator(frame_choice)]
"""The same as a setting, which is checked where it is read."""


class InputSpec(BaseModel):
    """How a base is fed.

    The defaults are the family's own way, for every family; the rest is for LLaVA-OneVision. A
    folder may ask for another way of its own (`Base.own_inputs`).

    Example:
        >>> InputSpec(newline="grid").native
        False
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    newline: Literal["one_token", "grid", "frame", "no_token"] = Field(
        "one_token",
        description="Where newline tokens are inserted: at the end of the clip, after each row, "
        "after each frame, or nowhere.",
    )
    pool: Literal["bilinear", "average", "max"] = Field(
        "bilinear", description="How 2 x 2 tokens of a frame are pooled into one."
    )
    chat: Literal["family", "llava"] = Field(
        "family",
        description="Chat format: that of the family, or that of LLaVA's own code with its rule "
        "for the labels.",
    )
    resize: Literal["torch", "pillow"] = Field(
        "torch", description="The library whose bicubic filter resizes frames for the vision tower."
    )
    frames: FrameCount | None = Field(
        None,
        description="Number of evenly spread frames, unless a call asks for another number; by "
        "default the base's own.",
    )

    @property
    def native(self) -> bool:
        """Whether this is the family's own way."""
        return self == InputSpec()

    @property
    def asked(self) -> InputSpec | None:
        """As settings of a run mean it, for `Base.use`: the defaults ask for nothing."""
        if self.native:
            return None
        return self
