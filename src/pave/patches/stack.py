"""Patches on top of patches: what a patch stands on, how that is recognised, and whose LoRA takes whose place.

The authors add sound to a base that already has a patch for dense frames: the first patch's fusion
stays frozen, and a second fusion and the language model's LoRA train with it at work (their
`pave_qwen2_multi_sides`; output = V + g1 + g2). Here the second patch is a patch like any other
that says in `patch.json` what it stands on. It does not hold the other patch's weights: that one
must be on the base first, and is recognised by the hashes of its weight files, not by its name or
path.

Its LoRA is either one more beside the other patch's frozen LoRA, or that LoRA trained on
("continued", the authors' way). A continued LoRA takes the other's place wherever its patch is at
work; on clips that lack its channel the other's LoRA comes back, so that there the first patch
alone is exactly what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from pave.errors import ConfigError, PatchError
from pave.patches.config import Foundation, LoraSpec, PatchConfig


def foundations(
    configs: Mapping[str, PatchConfig], names: Sequence[str], continued: str | None
) -> list[Foundation]:
    """What a new patch stands on.

    Args:
        configs: Patches on the base.
        names: Those to stand on.
        continued: The one whose LoRA is trained on, or None.

    Raises:
        PatchError: If one is not on the base, or has no LoRA to go on with.
    """
    for name in (*names, *([continued] if continued is not None else [])):
        if name not in configs:
            raise PatchError(
                f"there is no patch '{name}' to stand on; loaded are: "
                f"{', '.join(configs) or 'none'}"
            )
    if continued is not None and continued not in names:
        raise PatchError(
            f"the LoRA of '{continued}' can only be continued by a patch on top of it; name it in "
            "on_top_of"
        )
    if continued is not None and configs[continued].lora is None:
        raise PatchError(f"patch '{continued}' has no LoRA to continue; give the new patch its own")
    return [
        Foundation(
            name=name,
            channel=configs[name].channel,
            task=configs[name].task,
            files=_weights(configs[name].files),
            lora="continued" if name == continued else "frozen",
        )
        for name in names
    ]


def lora_of_new(
    configs: Mapping[str, PatchConfig], own: LoraSpec | None, continued: str | None
) -> LoraSpec | None:
    """Shape of a new patch's LoRA: its own, or that of the LoRA it continues.

    Raises:
        ConfigError: If both are given and differ.
    """
    if continued is None:
        return own
    theirs = configs[continued].lora if continued in configs else None
    if own is not None and own != theirs:
        raise ConfigError(
            f"the new patch continues the LoRA of '{continued}' and so has its shape; leave "
            "`lora` out"
        )
    return theirs


def recognise(config: PatchConfig, configs: Mapping[str, PatchConfig], where: str) -> PatchConfig:
    """A loaded patch's config with the names that its foundations have on this model.

    Args:
        config: As in `patch.json`.
        configs: Patches on the base.
        where: The folder, for the message.

    Raises:
        PatchError: If one of them is not there.
    """
    found = []
    for foundation in config.stands_on:
        # The last one, if it was loaded twice: several arms of an evaluation may each bring their
        # own.
        name = next(
            (
                name
                for name in reversed(list(configs))
                if _weights(configs[name].files) == foundation.files
            ),
            None,
        )
        if name is None:
            what = ", ".join(
                filter(
                    None, [foundation.channel and f"channel {foundation.channel}", foundation.task]
                )
            )
            digest = next(iter(foundation.files.values()), "")[:12]
            raise PatchError(
                f"{where} stands on the patch '{foundation.name}'{f' ({what})' if what else ''}, "
                "which is not on the base; "
                f"load that one first (its weights have sha256 {digest}...)"
            )
        found.append(foundation.model_copy(update={"name": name}))
    return config.model_copy(update={"stands_on": found})


def identified(
    config: PatchConfig, configs: Mapping[str, PatchConfig], changed: Collection[str]
) -> PatchConfig:
    """A config to save, with the hashes by which its foundations will be recognised.

    Args:
        config: Of the patch to save.
        configs: Patches on the base.
        changed: Those whose weights are no longer what they were when they were saved or loaded.

    Raises:
        PatchError: If one of them was never saved, or has changed since.
    """
    found = []
    for foundation in config.stands_on:
        if foundation.name in changed:
            raise PatchError(
                f"the patch stands on '{foundation.name}', which has changed since it was saved; "
                "save that one again first"
            )
        files = _weights(configs[foundation.name].files)
        if not files:
            raise PatchError(
                f"the patch stands on '{foundation.name}', which was never saved; save that one "
                "first"
            )
        found.append(foundation.model_copy(update={"files": files}))
    return config.model_copy(update={"stands_on": found})


def standing_on(configs: Mapping[str, PatchConfig], name: str) -> list[str]:
    """Patches that stand on one."""
    return [
        top
        for top, config in configs.items()
        if any(foundation.name == name for foundation in config.stands_on)
    ]


def must_carry_none(configs: Mapping[str, PatchConfig], name: str) -> None:
    """Refuse to take a patch away from under another one.

    Raises:
        PatchError: If one stands on it.
    """
    if above := standing_on(configs, name):
        raise PatchError(f"patch '{above[0]}' stands on '{name}'; take that one off first")


def topmost(configs: Mapping[str, PatchConfig], names: Collection[str]) -> list[str]:
    """Of some patches at work, those that no other of them stands on."""
    return [name for name in names if not any(top in names for top in standing_on(configs, name))]


def replaced(
    configs: Mapping[str, PatchConfig], weights: Mapping[str, float]
) -> dict[str, list[str]]:
    """Patch -> active patches that go on with its LoRA and so take its place."""
    found: dict[str, list[str]] = {}
    for top, config in configs.items():
        for foundation in config.stands_on:
            if foundation.lora == "continued" and weights.get(top, 0.0) != 0:
                found.setdefault(foundation.name, []).append(top)
    return found


def _weights(files: Mapping[str, str]) -> dict[str, str]:
    """The hashes that tell one patch from another: those of its tensors, not of the adapter's settings."""
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
