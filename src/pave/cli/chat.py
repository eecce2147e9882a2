"""`pave chat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pave.answer.sampling import Sampling
from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import FrameFlag, channels_of, check_length, check_video, patched_model
from pave.cli.settings import Switch
from pave.errors import ConfigError, PaveError
from pave.placement import DtypeWord

TALKING = Sampling(max_new_tokens=256)
QUIT = "/quit"


def chat_verb(
    video: Path | None = None,
    /,
    *,
    image: Annotated[tuple[Path, ...], Parameter(show_default=False)] = (),
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    base: str | None = None,
    off: Switch = False,
    same_weights: Switch = False,
    frames: FrameFlag = None,
    system: str | None = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    sampling: Annotated[Sampling, Parameter(name="*")] = TALKING,
) -> int:
    """Hold a conversation about a video, with one question per line.

    Every question is answered in the context of all earlier ones. Answers appear while they are
    generated. To end the conversation, type `/quit` or Ctrl-C, or close the input.

    ```
    pave chat concert.mp4 --patch sound-demo
    echo "What do you hear?" | pave chat concert.mp4
    pave chat --image photo.jpg --base Qwen/Qwen2.5-VL-3B-Instruct
    ```

    Args:
        video: A video file, or a folder of frames. Without it, the conversation is text only.
        image: An image to show. You can repeat the flag.
        patch: A patch folder or Hub id. If you give several patches, their effects add up.
        channel: NAME=MEDIA for a channel that is not in the video itself, as in `pave ask`.
        base: The base model: smol, a folder, or a Hub id. By default the base of the first patch.
        off: Load the patches but switch them off.
        same_weights: Refuse a patch that was trained on a base with other weights.
        frames: Number of evenly spread frames, or auto, as in `pave ask`.
        system: A system message before the conversation, if the base's chat template takes one.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded.
        sampling: How answers are generated.
    """
    if sampling.n > 1:
        raise ConfigError("a conversation continues from one answer per question; leave out --n")
    check_length(sampling)
    media = channels_of(channel)
    if media and video is None:
        raise ConfigError("--channel needs a video; give the video, too")
    shown: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in image]
    if video is not None:
        check_video(video)
        shown.append({"type": "video", "video": video, "frames": frames, "channels": media})
    with patched_model(
        patch, base, off=off, same_weights=same_weights, dtype=dtype, loading=loading
    ) as (model, _):
        from pave.answer import Conversation

        try:
            return _talk(Conversation(model, sampling, system=system), shown, sampling)
        except KeyboardInterrupt:
            output.line()
            return 0


def _talk(talk: Any, shown: list[dict[str, Any]], sampling: Sampling) -> int:
    """Line by line; 2 where a line of a pipe could not be answered."""
    code = 0
    for text in _lines():
        content = [*shown, {"type": "text", "text": text}]
        try:
            # Beams have no first word before the last.
            pieces = [talk.say(content)] if sampling.beams > 1 else talk.stream(content)
            for piece in pieces:
                output.piece(piece)
        except PaveError as error:
            output.note(f"error: {error}")
            code = 2
            continue
        output.line()
        shown = []  # clips and pictures are shown once, with the first question
    return 0 if sys.stdin.isatty() else code


def _lines() -> Iterator[str]:
    """What the user says, up to the end; asked for on a terminal alone."""
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line or line.strip() == QUIT:
            return
        if line.strip():
            yield line.strip()
