"""`pave info`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pave.cli import output
from pave.cli.settings import Switch

if TYPE_CHECKING:
    from pave.patches.config import PatchConfig

_MANIFEST = "patch.json"
_SHOWN = (
    "channel",
    "channels",
    "encoder",
    "fusion",
    "lora",
    "base_patches",
    "prompt",
    "task",
    "licence",
    "datasets",
    "language",
    "training",
)


def info_verb(what: str | None = None, /, *, json: Switch = False) -> int:
    """Describe a patch, a video, or a folder of frames; without an argument, the installation.

    ```
    pave info
    pave info sound-demo
    pave info concert.mp4 --json
    pave info scans/scene0000_00/color
    ```

    Args:
        what: A patch folder, a patch's Hub id, a video file, or a folder of frames. Write `./`
            before a name that begins with a dash.
        json: Print JSON.
    """
    if what is None:
        facts = _installed()
    elif _is_patch(what):
        facts = _patch(what)
    elif os.path.isdir(what):
        facts = _pictures(what)
    else:
        facts = _video(what)
    if json:
        output.as_json(facts)
        return 0
    scores = facts.pop("scores", [])
    output.facts([(name.replace("_", " "), _text(value)) for name, value in facts.items()])
    if scores:
        _show_scores(scores)
    return 0


def _show_scores(scores: list[dict[str, Any]]) -> None:
    """The scores that a patch was saved with, as its card shows them."""
    from pave.patches.score_rows import how_to_read, shown_scores

    rows = shown_scores(scores)
    cells = [list(row.values()) for row in rows]
    output.line()
    output.table(list(rows[0]), cells, numbers=True)
    note = how_to_read(scores)
    # Rows of a program's own form explain themselves.
    if note:
        output.line(f"\n{note}")


def _is_patch(what: str) -> bool:
    """Folders, and names that are no file; a folder of frames is a video."""
    from pave.patches.installed import installed_patches

    path = Path(what)
    if os.path.isdir(what):  # pathlib raises on a name that is too long, this answers
        return (path / _MANIFEST).exists() or not _holds_pictures(path)
    if os.path.exists(what):
        return False
    # A patch's name, or a Hub id.
    return what in installed_patches() or (what.count("/") == 1 and not path.suffix)


def _holds_pictures(folder: Path) -> bool:
    """Whether `read_frames` finds something there; no folder at all is a patch that lacks all."""
    from pave.errors import MediaError
    from pave.media import frame_times

    try:
        frame_times(folder)
    except MediaError as error:
        # A stack of frames that is damaged is one; its error is of more use than a patch's.
        return "no jpg or png" not in str(error)
    return True


def _installed() -> dict[str, Any]:
    from importlib.util import find_spec

    from pave.evaluate.machine import versions

    optional = {
        "plots (matplotlib)": "matplotlib",
        "building smol (gguf)": "gguf",
        "the world (resvg_py)": "resvg_py",
    }
    extras = {
        name: "installed" if find_spec(module) else "not installed"
        for name, module in optional.items()
    }
    return {**versions(), **extras}


def _patch(source: str) -> dict[str, Any]:
    from pave.errors import PatchError
    from pave.patches import read_config
    from pave.patches.layout import weight_files
    from pave.patches.remote import locate

    folder = locate(source)
    config = read_config(folder)
    content = config.model_dump(mode="json")
    files = [folder / name for name in weight_files(config)]
    # Only headers are read below, but a file must be there to have one.
    if missing := [file for file in files if not file.is_file()]:
        raise PatchError(f"{missing[0]} is missing; the patch folder is incomplete")
    facts = {
        "patch": str(folder),
        "base": config.base.name,
        "revision": config.base.revision,
        "quantized": config.base.quantized,
        **{key: content.get(key) for key in _SHOWN},
        "dtype": config.dtype,
        "parameters": sum(_parameters(file) for file in files if file.suffix == ".safetensors"),
        "bytes": sum(file.stat().st_size for file in files),
        "pave_version": config.pave_version,
        "probe": _probe(config),
        "scores": content["scores"],
        **_measured(folder, config),
    }
    # What a patch does not have is not listed.
    return {name: value for name, value in facts.items() if value not in (None, {}, [])}


def _probe(config: PatchConfig) -> str | None:
    """That it has one, and how to use it; the numbers are of no use to people."""
    if config.probe is None:
        return None
    return f"{config.probe.dtype}, seed {config.probe.seed}; try it with pave check BASE --patch"


def _measured(folder: Path, config: PatchConfig) -> dict[str, Any]:
    """What `pave eval` found, and an example."""
    from pave.patches.card import shown_example
    from pave.patches.scores import read_scores

    scores = read_scores(folder, config)
    facts: dict[str, Any] = {}
    for evaluation in scores:
        values = {row.score: f"{row.value} ({row.notes})" for row in evaluation.measured}
        facts[f"scores on {evaluation.name}"] = values
    example = shown_example(config, scores)
    if example is not None:
        facts["example"] = example.model_dump(exclude_defaults=True)
    return facts


def _parameters(file: Path) -> int:
    """Numbers in a weight file, read from its header."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    from pave.errors import PatchError

    try:
        with safe_open(file, framework="pt") as tensors:
            # An open safetensors file has keys but cannot be iterated over.
            names = list(tensors.keys())
            return sum(prod(tensors.get_slice(name).get_shape()) for name in names)
    except (OSError, SafetensorError) as error:
        raise PatchError(f"{file} is damaged ({error}); fetch the patch again") from error


def _video(what: str) -> dict[str, Any]:
    from pave.media import probe

    info = probe(Path(what))  # the container's header, no frame
    facts: dict[str, Any] = {"video": what, "seconds": round(info.duration, 3)}
    facts["picture"] = (
        None if info.video is None else {**vars(info.video), "fps": round(info.video.fps, 3)}
    )
    facts["sound"] = None if info.sound is None else dict(vars(info.sound))
    return facts


def _pictures(what: str) -> dict[str, Any]:
    """What a folder of frames holds; the first picture stands for all of them."""
    from pave.media import At, frame_times, read_frames

    # At one picture a second, as everything that reads a folder takes it unless told otherwise.
    count = len(frame_times(what, folder_fps=1.0))
    height, width = read_frames(what, At([0.0])).pixels.shape[-2:]
    return {
        "frames": what,
        "pictures": count,
        "picture": {"width": width, "height": height},
        "sound": None,
        "time": "none; picture n is taken to be at n seconds, counted from 0",
    }


def _text(value: Any) -> str:
    """A value for people."""
    if isinstance(value, dict):
        return _settings(value)
    if isinstance(value, list):
        return "; ".join(_text(inner) for inner in value)
    if value is None:
        return "none"
    # A bool is an int to Python, so it comes first.
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _settings(values: dict[str, Any]) -> str:
    """Names and values; a name of its own comes first."""
    shown: list[str] = []
    for key, value in values.items():
        if key == "name":
            shown.insert(0, _text(value))
        else:
            shown.append(f"{key} {_inside(value)}")
    return ", ".join(shown)


def _inside(value: Any) -> str:
    """A value within a list of settings; what belongs to it stands in parentheses."""
    if isinstance(value, dict | list) and len(value) > 1:
        return f"({_text(value)})"
    return _text(value)
