"""The generated card (README.md) of a patch.

It says what the patch adds, to which base, how to use it, and what it scored. What there is to say
of a channel comes from its encoder's description (`pave.channels.describe_encoder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from pave.channels import EncoderInfo, describe_encoder
from pave.fusion_costs import fusion_parameters
from pave.patches.config import Example, LoraSpec, PatchConfig
from pave.patches.front_matter import front_matter
from pave.patches.layout import lora_files
from pave.patches.score_rows import how_to_read, shown_scores
from pave.patches.scores import Evaluation


def make_card(
    config: PatchConfig,
    name: str,
    scores: Sequence[Evaluation] = (),
    source: str | None = None,
) -> str:
    """The card's Markdown, with the Hub's metadata block on top.

    Args:
        config: The patch.
        name: What to call it in the text and in the example.
        scores: What was measured with it.
        source: What the example loads; a path when not given.
    """
    senses = _senses(config)
    blocks = [
        front_matter(config, name, scores),
        f"# {name}",
        _what(config, senses),
        _usage(config, senses, source or f"path/to/{name}"),
    ]
    if example := shown_example(config, scores):
        blocks.append(_example(example))
    if config.loras:
        blocks.append(_in_peft(config))
    blocks.append("## Facts\n\n" + table(_facts(config, senses)))
    blocks += map(_evaluation, scores)
    if config.scores:
        blocks.append("## Scores\n\n" + table(shown_scores(config.scores)))
        blocks += filter(None, [how_to_read(config.scores)])
    if config.training:
        rows = [{"setting": key, "value": _cell(value)} for key, value in config.training.items()]
        blocks.append("## Training\n\n" + table(rows))
    return "\n\n".join(blocks) + "\n"


def _senses(config: PatchConfig) -> list[EncoderInfo]:
    """What there is to say of each channel."""
    found = []
    for channel, spec in config.parts.items():
        encoder = None
        if spec.encoder is not None:
            encoder = spec.encoder.name
        # None describes a channel whose tokens come ready-made.
        found.append(describe_encoder(channel, encoder))
    return found


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


def _what(config: PatchConfig, senses: Sequence[EncoderInfo]) -> str:
    """What the patch is good for, in two sentences."""
    base = f"`{config.base.name}`"
    if len(senses) > 1:
        gains = " and ".join(map(attrgetter("gain"), senses))
        return (
            f"A patch with several channels for {base}, which with it {gains}. The base's weights, "
            "architecture and number of tokens stay as they are; without any of the channels, or "
            "with the patch switched off, it answers exactly as before."
        )
    if not senses:
        return (
            f"A LoRA without a side channel for {base}: the control that a patch is compared with. "
            "The base is unchanged."
        )
    return (
        f"A patch for {base}, which with it {senses[0].gain}. The base's weights, architecture and "
        "number of tokens stay as they are; without the channel, or with the patch switched off, "
        "it answers exactly as before."
    )


def _usage(config: PatchConfig, senses: Sequence[EncoderInfo], source: str) -> str:
    """A program that asks with the patch; it runs where the paths in it exist."""
    imports = ["import pave"]
    tokens: list[str] = []
    given = []
    for info in senses:
        if info.reads != "own":  # the video holds it
            continue
        given.append(f"{json.dumps(info.channel)}: {info.example}")
        spec = config.parts[info.channel]
        if spec.encoder is None and not tokens:
            # The example of ready-made tokens names `values` and `times`.
            imports.insert(0, "import torch")
            tokens.append(
                f"values = torch.randn(8, 1, {spec.fusion.side_dim})  # yours: [steps, tokens, C]"
            )
            tokens.append("times = torch.arange(8.0)  # of each step, in seconds")
    channels = ""
    if given:  # what the video does not hold
        channels = f", channels={{{', '.join(given)}}}"
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
        f'model.load_patch("{source}")',
        *tokens,
        f'print(model.ask("video.mp4", "What is happening?"{channels}))',
    ]
    return "## Use\n\n```python\n" + "\n".join(code) + "\n```"


def shown_example(config: PatchConfig, scores: Sequence[Evaluation]) -> Example | None:
    """The example that was saved with a patch, or else the newest that an evaluation found."""
    if config.example is not None:
        return config.example
    for evaluation in reversed(scores):
        if evaluation.example is not None:
            return evaluation.example
    return None


def _example(example: Example) -> str:
    """One question, with and without the patch."""
    rows = {"clip": example.clip, "question": example.question}
    if example.wanted is not None:
        rows["right answer"] = example.wanted
    rows["base"] = example.base
    rows["with the patch"] = example.patch
    shown = table([{"": name, " ": value} for name, value in rows.items()])
    if example.note:
        shown += f"\n\n{example.note}"
    return f"## Example\n\n{shown}"


def _in_peft(config: PatchConfig) -> str:
    """What the `lora/` folder is good for without pave."""
    folder = lora_files(next(iter(config.loras)))[0].partition("/")[0]
    text = f"`{folder}/` is a plain PEFT adapter: `PeftModel.from_pretrained(model, source, "
    text += f'subfolder="{folder}")` puts it on the base.'
    if config.parts:
        channels = "`" + "` and `".join(config.parts) + "`"
        text += (
            " That is not the whole patch: without the fusion, which only pave reads, the model "
            f"does not get the channel {channels}."
        )
    return f"## Without pave\n\n{text}"


def _evaluation(evaluation: Evaluation) -> str:
    """One evaluation: all arms with their intervals, and how to read them."""
    rows = [dict(zip(evaluation.header, row, strict=True)) for row in evaluation.rows]
    head = f"## Scores on {evaluation.name}\n\n{evaluation.title}. This patch is the arm "
    head += (
        f"`{evaluation.arm}`. Measured on {evaluation.date} with pave {evaluation.pave_version}."
    )
    return "\n\n".join([f"{head}.", table(rows), *evaluation.how])


def _facts(config: PatchConfig, senses: Sequence[EncoderInfo]) -> list[dict[str, str]]:
    """Name and value of each fact; the columns have no titles."""
    facts = {"base": config.base.name}
    if config.base.revision is not None:
        facts["base, commit"] = config.base.revision
    facts |= _encoders(config)
    facts |= _base_patches(config)
    for channel, spec in config.parts.items():
        name = "fusion"
        if config.channels:
            name += f" of {channel}"
        facts[name] = f"{fusion_parameters(spec.fusion):,} parameters"
    for channel, lora in config.loras.items():
        name = "LoRA"
        if channel:  # its own, and not everybody's
            name += f" of {channel}"
        facts[name] = _lora(lora)
    if config.task:
        facts["task"] = config.task
    facts["prompt"] = f"`{config.prompt}`"
    if config.chat is not None:
        facts["chat format"] = f"`{config.chat.turn}`"
    if config.dtype != "fp32":
        facts["stored in"] = f"{config.dtype}; computed in fp32"
    if config.probe is not None:
        facts["probe"] = f"seed {config.probe.seed}, {config.probe.dtype}"
    facts |= _licences(config, senses)
    facts["written by"] = f"pave {config.pave_version}"
    return [{"": name, " ": value} for name, value in facts.items()]


def _encoders(config: PatchConfig) -> dict[str, str]:
    """Its channels, and what makes their tokens."""
    facts = {}
    for channel, spec in config.parts.items():
        name = f"encoder of {channel}"
        if not config.channels:
            facts["channel"] = channel
            name = "encoder"
        facts[name] = "none (ready-made tokens)"
        if spec.encoder is not None:
            facts[name] = f"{spec.encoder.name} {json.dumps(spec.encoder.settings)}"
    return facts


def _lora(lora: LoraSpec) -> str:
    """The LoRA's shape in a few words."""
    words = [f"rank {lora.rank}", f"alpha {lora.alpha}"]
    words += ["DoRA"] * lora.use_dora + ["rsLoRA"] * lora.use_rslora
    if lora.rank_pattern or lora.alpha_pattern:
        words.append("others for some modules")
    return ", ".join(words)


def _base_patches(config: PatchConfig) -> dict[str, str]:
    """The patches that it was trained on top of."""
    facts = {}
    for number, base_patch in enumerate(config.base_patches, 1):
        digest = next(iter(base_patch.files.values()), "")[:12]
        channel = f" ({base_patch.channel})" if base_patch.channel else ""
        facts[f"base patch {number}"] = (
            f"{base_patch.name}{channel}, sha256 {digest}..., its LoRA {base_patch.lora}"
        )
    return facts


def _licences(config: PatchConfig, senses: Sequence[EncoderInfo]) -> dict[str, str]:
    """The licences of the patch, of its encoder's weights and of its data."""
    facts = {"licence": config.licence or "not stated"}
    # The patch's own licence does not lift what encoder and data ask for.
    licences = dict.fromkeys(info.licence for info in senses if info.licence)
    if licences:
        facts["licence of the encoder"] = "; ".join(licences)
    for data in config.datasets:
        facts[f"data: {data.name}"] = data.licence or "licence not stated"
    return facts
