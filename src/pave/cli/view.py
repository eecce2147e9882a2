"""`pave view`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import FrameFlag, channels_of, check_video, patched_model
from pave.cli.serve import page_of, patch_names
from pave.cli.settings import Switch
from pave.errors import ConfigError
from pave.placement import DtypeWord


def view_verb(
    video: Path,
    /,
    *question: str,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    channel: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    save: Path | None = None,
    base: str | None = None,
    port: int = 8000,
    same_weights: Switch = False,
    frames: FrameFlag = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
) -> int:
    r"""Look at what patches do on one clip: on a page, or as a recording for the viewer of rerun.

    Without --save, the clip stands on the page of `pave serve --ui`, on this machine. With --save,
    the clip, its channels, side tokens, attention and answers go into one file on one timeline.

    ```
    pave view concert.mp4 "What do you hear?" --patch sound=sound-demo
    pave view concert.mp4 "What do you hear?" --patch sound=sound-demo \
        --save concert.rrd
    rerun concert.rrd
    ```

    Args:
        video: A video file, or for --save a folder of frames, too.
        question: Questions for base and patches.
        patch: NAME=FOLDER or NAME=ID for a patch and its name. You can repeat the flag.
        channel: With --save, NAME=MEDIA for a channel that is not in the video itself, as for
            `pave ask`. You can repeat the flag.
        save: File for the recording, such as clip.rrd. It needs the extra `view`.
        base: The base model: smol, a folder, or a Hub id. By default the base of the first patch.
        port: Port of the page; 0 takes a free one.
        same_weights: Refuse a patch that was trained on a base with other weights.
        frames: With --save, number of evenly spread frames, or auto. By default as the patches
            were trained.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded.
    """
    check_video(video)
    if save is None:
        if channel or frames is not None:
            raise ConfigError("--channel and --frames go with --save; the page has no place yet")
        return page_of(
            video, question, patch=patch, base=base, port=port, same_weights=same_weights,
            dtype=dtype, loading=loading,
        )  # fmt: skip
    if save.suffix != ".rrd":
        raise ConfigError(f"--save {save}: a recording ends with .rrd, as in clip.rrd")
    if find_spec("rerun") is None:
        raise ConfigError("pave view --save needs rerun-sdk: pip install 'video-pave[view]'")
    media = channels_of(channel)
    named = patch_names(patch)
    with patched_model(
        list(named.values()), base, off=False, same_weights=same_weights, dtype=dtype,
        loading=loading, names=list(named),
    ) as (model, _):  # fmt: skip
        from pave.serve import recording

        viewed = recording.view(model, video, question, media, frames)
        recording.save(viewed, save)
    for who, answers in viewed.answers.items():
        for asked, answer in answers:
            output.line(f"{who}: {asked} {answer}")
    output.line(f"recording in {save}; look at it with: rerun {save}")
    return 0
