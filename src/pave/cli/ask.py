"""`pave ask`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pave.cli import output
from pave.cli.settings import Switch
from pave.errors import ConfigError


def ask_verb(
    video: Path,
    /,
    *question: str,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    base: str | None = None,
    off: Switch = False,
    frames: int | None = None,
    max_new_tokens: int = 64,
    json: Switch = False,
) -> int:
    """Ask one question or several about a video; each answer is a line on stdout.

    ```
    pave ask concert.mp4 "What do you hear?" --patch outputs/demo/patch
    pave ask concert.mp4 "What do you hear?" --patch outputs/demo/patch --off
    pave ask concert.mp4 "What do you see?" "What do you hear?" --json
    ```

    Args:
        video: A video file, or a folder of frames.
        question: What to ask; several questions share one decoding of the video.
        patch: A patch folder or Hub id; may be given several times, their effects add up.
        base: The base model: smol, a folder or a Hub id. The one the patch was made for when not given.
        off: Load the patches but switch them off: the answer is exactly the base's.
        frames: Frames to look at, evenly spread; the base's own number when not given.
        max_new_tokens: Longest answer, in tokens.
        json: Print questions, answers and what gave them as JSON.
    """
    if not question or not all(text.strip() for text in question):
        raise ConfigError(
            'no question, or an empty one; write it after the video, as in: pave ask concert.mp4 "What do you hear?"'
        )
    if (frames is not None and frames < 1) or max_new_tokens < 1:
        raise ConfigError("--frames and --max-new-tokens must be at least 1")
    from pave.bases import load_base
    from pave.patches import PatchedModel

    _check_video(video)
    folders = [_patch(source) for source in patch]
    name = base or (folders[0][1] if folders else "smol")
    model = PatchedModel(load_base(name))
    names = [model.load_patch(folder, name=f"patch{number}") for number, (folder, _) in enumerate(folders)]
    model.set_patches({} if off else dict.fromkeys(names, 1.0))
    answers = model.ask(video, list(question), frames=frames, max_new_tokens=max_new_tokens)
    if json:
        turns = [{"question": asked, "answer": answer} for asked, answer in zip(question, answers, strict=True)]
        output.as_json({"video": video, "base": name, "patches": list(patch), "off": off, "turns": turns})
    else:
        for answer in answers:
            output.line(answer)
    return 0


def _check_video(video: Path) -> None:
    """Find out about a bad file before a model is loaded: the first frame is decoded."""
    from pave.media import Uniform, read_frames

    read_frames(video, Uniform(1))


def _patch(source: str) -> tuple[Path, str]:
    """A patch's folder, and the base that it names."""
    from pave.patches import read_config
    from pave.patches.hub import locate

    folder = locate(source)
    return folder, read_config(folder).base.name
