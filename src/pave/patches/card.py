"""The generated card (README.md) of a patch.

It says what the patch adds, to which base, how to use it, and what it scored. What there is to say
of a channel comes from its encoder's description (`pave.channels.describe_encoder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pave.channels import EncoderInfo, describe_encoder
from pave.fusion_costs import fusion_parameters
from pave.patches.config import PatchConfig
from pave.patches.hub import is_hub_id


def make_card(config: PatchConfig, name: str) -> str:
    """The card's Markdown, with the Hub's metadata block on top.

    Args:
        config: The patch.
        name: What to call it in the text and in the example.
    """
    info = None
    if config.channel is not None:
        encoder = config.encoder.name if config.encoder is not None else None
        info = describe_encoder(config.channel, encoder)
    blocks = [
        _metadata(config),
        f"# {name}",
        _what(config, info),
        _usage(config, info, name),
        "## Facts\n\n" + table(_facts(config)),
    ]
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
    columns: list[str] = []
    for row in rows:
        columns += [key for key in row if key not in columns]
    lines = [" | ".join(columns), " | ".join(["---"] * len(columns))]
    for row in rows:
        cells = [_cell(row.get(key, "")) for key in columns]
        lines.append(" | ".join(cells))
    return "| " + " |\n| ".join(lines) + " |"


def _cell(value: Any) -> str:
    """A value on one line, without what would end the cell."""
    # Strings as they are, numbers and lists as JSON writes them.
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return " ".join(text.replace("|", "\\|").split())


def _metadata(config: PatchConfig) -> str:
    """What the Hub reads: the licence, the base if it is on the Hub, and tags."""
    lines = ["library_name: pave"]
    if config.licence:
        lines.append(f"license: {json.dumps(config.licence)}")
    # The Hub refuses a card whose base_model is a local path.
    if is_hub_id(config.base.name):
        lines.append(f"base_model: {json.dumps(config.base.name)}")
    tags = ["pave", "video-text-to-text"]
    if config.channel is not None:
        tags.append(config.channel)
    lines.append(f"tags: {json.dumps(tags)}")
    return "\n".join(["---", *lines, "---"])


def _what(config: PatchConfig, info: EncoderInfo | None) -> str:
    """What the patch is good for, in two sentences."""
    base = f"`{config.base.name}`"
    if info is None:
        return (
            f"A LoRA without a side channel for {base}: the control that a patch is compared with. "
            "The base is unchanged."
        )
    return (
        f"A patch for {base}, which with it {info.gain}. The base's weights, architecture and "
        "number of tokens stay as they are; without the channel, or with the patch switched off, "
        "it answers exactly as before."
    )


def _usage(config: PatchConfig, info: EncoderInfo | None, name: str) -> str:
    """A program that asks with the patch; it runs where the paths in it exist."""
    imports = ["import pave"]
    tokens = []
    channels = ""
    if info is not None and info.reads == "own":
        channels = f", channels={{{json.dumps(info.channel)}: {info.example}}}"
        if config.encoder is None and config.fusion is not None:
            # The example of ready-made tokens names `values` and `times`.
            imports.insert(0, "import torch")
            tokens.append(
                f"values = torch.randn(8, 1, {config.fusion.side_dim})  # yours: [steps, tokens, C]"
            )
            tokens.append("times = torch.arange(8.0)  # of each step, in seconds")
    load = [f'model.load_patch("path/to/{base.name}")  # first' for base in config.base_patches]
    # The commit that it was trained on, where that is known.
    revision = ""
    if config.base.revision is not None:
        revision = f', revision="{config.base.revision}"'
    code = [
        *imports,
        "",
        f"base = pave.load_base({json.dumps(config.base.name)}{revision})",
        "model = pave.PatchedModel(base)",
        *load,
        f'model.load_patch("path/to/{name}")',
        *tokens,
        f'print(model.ask("video.mp4", "What is happening?"{channels}))',
    ]
    return "## Use\n\n```python\n" + "\n".join(code) + "\n```"


def _facts(config: PatchConfig) -> list[dict[str, str]]:
    """Name and value of each fact; the columns have no titles."""
    facts = {"base": config.base.name}
    if config.channel is not None:
        facts["channel"] = config.channel
        facts["encoder"] = "none (ready-made tokens)"
    if config.encoder is not None:
        facts["encoder"] = f"{config.encoder.name} {json.dumps(config.encoder.settings)}"
    for number, base_patch in enumerate(config.base_patches, 1):
        digest = next(iter(base_patch.files.values()), "")[:12]
        channel = f" ({base_patch.channel})" if base_patch.channel else ""
        facts[f"base patch {number}"] = (
            f"{base_patch.name}{channel}, sha256 {digest}..., its LoRA {base_patch.lora}"
        )
    if config.fusion is not None:
        facts["fusion"] = f"{fusion_parameters(config.fusion):,} parameters"
    if config.lora is not None:
        facts["LoRA"] = f"rank {config.lora.rank}, alpha {config.lora.alpha}"
    if config.task:
        facts["task"] = config.task
    facts["prompt"] = f"`{config.prompt}`"
    if config.chat is not None:
        facts["chat format"] = f"`{config.chat.turn}`"
    if config.dtype != "fp32":
        facts["stored in"] = f"{config.dtype}; computed with in fp32"
    facts["licence"] = config.licence or "not stated"
    facts["written by"] = f"pave {config.pave_version}"
    return [{"": name, " ": value} for name, value in facts.items()]
