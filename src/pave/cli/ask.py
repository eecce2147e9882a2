"""`pave ask`."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from pave.answer.sampling import Sampling
from pave.bases.inputs import MOST_FRAMES
from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.placement import DtypeWord, find_device, running_on

if TYPE_CHECKING:
    from pave.model import PatchedModel
    from pave.patches.config import BaseId

GREEDY = Sampling()
MOST_TOKENS = 2**20
"""More new tokens are a slip of the finger."""


def ask_verb(
    video: Path,
    /,
    *question: str,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    base: str | None = None,
    off: Switch = False,
    same_weights: Switch = False,
    frames: int | None = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    sampling: Annotated[Sampling, Parameter(name="*")] = GREEDY,
    json: Switch = False,
) -> int:
    """Ask one question or several about a video; each answer is a line on stdout.

    ```
    pave ask concert.mp4 "What do you hear?" --patch outputs/demo/patch
    pave ask concert.mp4 "What do you hear?" --patch outputs/demo/patch --off
    pave ask concert.mp4 "What do you see?" "What do you hear?" --json
    pave ask concert.mp4 "Describe the stage." --temperature 0.7 --seed 1 --n 3
    pave ask ego.mp4 "What is behind the door?" --patch cameras --channel views=cam1.mp4,cam2.mp4
    ```

    Args:
        video: A video file, or a folder of frames.
        question: What to ask; several questions share one decoding of the video.
        patch: A patch folder or Hub id; may be given several times, their effects add up.
        channel: NAME=MEDIA for a channel that is not in the video itself: a path, several with
            commas between them, or a JSON object as in records; may be given for several channels.
        base: The base model: smol, a folder or a Hub id. The one the patch was made for when not
            given.
        off: Load the patches but switch them off: the answer is exactly the base's.
        same_weights: Refuse a patch that was trained on other weights than the base's, such as
            those before a fine-tuning; without it there is a warning.
        frames: Frames to look at, evenly spread; when not given, as many as the patches were
            trained on, or the base's own number.
        dtype: Floating-point type of the base; auto is that of its files.
        loading: How the base is loaded.
        sampling: How answers are generated.
        json: Print questions, answers and what gave them as JSON.
    """
    if not question or not all(text.strip() for text in question):
        raise ConfigError(
            "no question, or an empty one; write it after the video, as in: "
            'pave ask concert.mp4 "What do you hear?"'
        )
    _check_text(question)
    for flag, number, most in (
        ("--frames", frames, MOST_FRAMES),
        ("--max-new-tokens", sampling.max_new_tokens, MOST_TOKENS),
    ):
        if number is not None and not 1 <= number <= most:
            raise ConfigError(f"{flag} must be at least 1 and at most {most:,}, got {number:,}")
    # Imported here: what is refused above needs no torch.
    from pave.bases import load_base
    from pave.model import PatchedModel

    media = dict(_media(words) for words in channel)
    place = find_device(loading.device)
    # A second for a frame, before a minute for a model.
    _check_video(video)
    folders = [_patch(source) for source in patch]  # the folder, and the base that it names
    name, how = "smol", loading.on(place)
    if base is not None:
        name = base
    elif folders:
        known = folders[0][1]  # the first one's
        name = known.name
        how["revision"] = how["revision"] or known.revision
    with running_on(place):
        model = PatchedModel(load_base(name, dtype=dtype, **how))
        names = [
            model.load_patch(folder, name=f"patch{number}", same_weights=same_weights)
            for number, (folder, _) in enumerate(folders)
        ]
        model.set_patches({} if off else dict.fromkeys(names, 1.0))
        # n a question, one question after the other
        options: Any = {"channels": media, "frames": frames, "sampling": sampling}
        answers = _answers(model, video, question, options)
    if json:
        turns = []
        for number, answer in enumerate(answers):
            turns.append({"question": question[number // sampling.n], "answer": answer})
        output.as_json(
            {"video": video, "base": name, "patches": list(patch), "off": off, "turns": turns}
        )
    else:
        for answer in answers:
            output.line(answer)
    return 0


def _answers(
    model: PatchedModel, video: Path, question: Sequence[str], options: dict[str, Any]
) -> list[str]:
    """`n` answers to each question; questions that get one each share the clip's prefix."""
    if options["sampling"].n == 1:
        return model.ask(video, list(question), **options)
    answers: list[str] = []
    for text in question:
        answers += model.ask(video, text, **options)
    return answers


def _check_text(question: Sequence[str]) -> None:
    """Bytes that are no UTF-8 come from the system as half characters, which no tokenizer takes."""
    try:
        "".join(question).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            "the question is no text in UTF-8; check the encoding of the terminal"
        ) from error


def _media(words: str) -> tuple[str, Any]:
    """`views=a.mp4,b.mp4` as the channel's name and its media."""
    name, equals, text = words.partition("=")
    if not name or not equals or not text:
        raise ConfigError(
            f"--channel takes NAME=MEDIA such as views=cam1.mp4,cam2.mp4, got {words!r}"
        )
    if text.startswith(("{", "[")):  # as records write media that are more than a path
        try:
            return name, json_module.loads(text)
        except ValueError as error:
            raise ConfigError(f"--channel {name}: not valid JSON ({error})") from error
    # A file whose own name holds a comma is one file.
    paths = [text] if Path(text).exists() else text.split(",")
    return name, paths[0] if len(paths) == 1 else paths


def _check_video(video: Path) -> None:
    """Find out about a bad file before a model is loaded: the first frame is decoded."""
    from pave.media import Uniform, read_frames

    read_frames(video, Uniform(1))


def _patch(source: str) -> tuple[Path, BaseId]:
    """A patch's folder, and the base that it names."""
    from pave.patches import read_config
    from pave.patches.hub import locate

    folder = locate(source)
    return folder, read_config(folder).base
