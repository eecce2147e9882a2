"""The generated card (README.md) of a patch: what it adds, to which base, how to use it, and what it scored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pave.patches.config import PatchConfig

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MEDIA = {
    "audio": "hears the video's sound",
    "frames": "sees the video at a high frame rate",
    "views": "sees further cameras",
}
_MEDIA["scene3d"] = "knows the scene's 3D geometry"


def make_card(config: PatchConfig, name: str) -> str:
    """The card's Markdown, with the Hub's metadata block on top.

    Args:
        config: The patch.
        name: What to call it in the text and in the example.
    """
    blocks = [_metadata(config), f"# {name}", _what(config), _usage(config, name), _facts(config)]
    if config.scores:
        blocks.append("## Scores\n\n" + table(config.scores))
    if config.training:
        rows = [{"setting": key, "value": _cell(value)} for key, value in config.training.items()]
        blocks.append("## Training\n\n" + table(rows))
    return "\n\n".join(blocks) + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; its columns are the first row's keys, then any that later rows add.

    Example:
        >>> print(table([{"arm": "base", "accuracy": 0.5}]))
        | arm | accuracy |
        | --- | --- |
        | base | 0.5 |
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [
        columns,
        ["---"] * len(columns),
        *([_cell(row.get(key, "")) for key in columns] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return " ".join(text.replace("|", "\\|").split())


def _metadata(config: PatchConfig) -> str:
    lines = ["library_name: pave"]
    if config.licence:
        lines.append(f"license: {json.dumps(config.licence)}")
    if _HUB_ID.fullmatch(config.base.name):
        lines.append(f"base_model: {json.dumps(config.base.name)}")
    tags = ["pave", "video-text-to-text", *([config.channel] if config.channel else [])]
    lines.append(f"tags: {json.dumps(tags)}")
    return "\n".join(["---", *lines, "---"])


def _what(config: PatchConfig) -> str:
    base = f"`{config.base.name}`"
    if config.channel is None:
        return f"A LoRA without a side channel for {base}: the control that a patch is compared with. The base is unchanged."
    gain = _MEDIA.get(config.channel, f"uses the side channel `{config.channel}`")
    return (
        f"A patch for {base}, which with it {gain}. The base's weights, architecture and number "
        "of tokens stay as they are; "
        "without the channel, or with the patch switched off, it answers exactly as before."
    )


def _usage(config: PatchConfig, name: str) -> str:
    extra = (
        ""
        if config.channel in (None, "audio", "frames")
        else f', channels={{"{config.channel}": "{config.channel}.safetensors"}}'
    )
    code = [
        "import pave",
        "",
        f"base = pave.load_base({json.dumps(config.base.name)})",
        "model = pave.PatchedModel(base)",
        *(
            f'model.load_patch("path/to/{below.name}")  # a patch it was trained on top of'
            for below in config.base_patches
        ),
        f'model.load_patch("path/to/{name}")',
        f'print(model.ask("video.mp4", "What is happening?"{extra}))',
    ]
    return "## Use\n\n```python\n" + "\n".join(code) + "\n```"


def _facts(config: PatchConfig) -> str:
    rows: list[dict[str, Any]] = [{"": "base", " ": config.base.name}]
    if config.channel is not None:
        encoder = config.encoder
        rows.append({"": "channel", " ": config.channel})
        rows.append(
            {
                "": "encoder",
                " ": f"{encoder.name} {json.dumps(encoder.settings)}"
                if encoder
                else "none (ready-made tokens)",
            }
        )
    for below in config.base_patches:
        digest = next(iter(below.files.values()), "")[:12]
        text = f"{below.name}{f' ({below.channel})' if below.channel else ''}, sha256 {digest}..., its LoRA {below.lora}"
        rows.append({"": "on top of", " ": text})
    if config.fusion is not None:
        rows.append({"": "fusion", " ": f"{config.fusion.parameters():,} parameters"})
    if config.lora is not None:
        rows.append({"": "LoRA", " ": f"rank {config.lora.rank}, alpha {config.lora.alpha}"})
    if config.task:
        rows.append({"": "task", " ": config.task})
    rows += [
        {"": "prompt", " ": f"`{config.prompt}`"},
        {"": "licence", " ": config.licence or "not stated"},
    ]
    rows.append({"": "written by", " ": f"pave {config.pave_version}"})
    return "## Facts\n\n" + table(rows)
