"""Base patches: what a patch was trained on top of, and whose LoRA takes whose place.

The authors add sound to a base that already has a patch for dense frames: the first patch's fusion
stays frozen, and a second fusion and the language model's LoRA train with it at work (their
`pave_qwen2_multi_sides`; output = V + g1 + g2). Here the second patch is a patch like any other
that says in `patch.json` which base patches it has. It does not hold their weights: they must be on
the base first, and are recognised by the hashes of their weight files, not by name or path.

Its LoRA is either one more beside the base patch's frozen LoRA, or that LoRA trained on
("continued", the authors' way). A continued LoRA takes the other's place wherever its patch is at
work; on clips that lack its channel the other's LoRA comes back, so that there the base patch alone
is exactly what it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pave.errors import ConfigError, PatchError
from pave.patches.config import BasePatch, LoraSpec, PatchConfig
from pave.patches.patch import Patch


def base_patches_of(
    patches: Mapping[str, Patch], names: Sequence[str], continued: str | None
) -> list[BasePatch]:
    """The base patches of a new patch.

    Args:
        patches: Patches on the base.
        names: Those it is trained on top of.
        continued: The one whose LoRA is trained on, or None.

    Raises:
        PatchError: If one is not on the base, or has no LoRA to go on with.
    """
    for name in (continued, *_names(names)):
        if not isinstance(name, str | None):
            raise PatchError(f"a base patch is named by a text, got {type(name).__name__}")
    wanted = list(names)
    if continued is not None:
        wanted.append(continued)
    for name in wanted:
        if name not in patches:
            raise PatchError(
                f"there is no patch '{name}' to train on top of; loaded patches: "
                f"{', '.join(patches) or 'none'}"
            )
    if continued is not None and continued not in names:
        raise PatchError(
            f"the LoRA of '{continued}' can be continued only by a patch that is trained on top "
            "of it; name it in base_patches"
        )
    # Nor has a patch whose channels have one each: one of them could not take its place.
    if continued is not None and patches[continued].config.lora is None:
        raise PatchError(
            f"patch '{continued}' has no LoRA to continue; give the new patch a LoRA of its own"
        )
    found = []
    for name in names:
        config = patches[name].config
        found.append(
            BasePatch(
                name=name,
                channel=config.channel,
                task=config.task,
                files=weight_hashes(config.files),
                lora="continued" if name == continued else "frozen",
            )
        )
    return found


def _names(given: object) -> list[object]:
    """The names in a list; a single text would be taken letter by letter."""
    if not isinstance(given, list | tuple):
        raise PatchError(f"base_patches is a list of names of patches, got {type(given).__name__}")
    return list(given)


def lora_of_new(
    patches: Mapping[str, Patch], own: LoraSpec | None, continued: str | None
) -> LoraSpec | None:
    """Shape of a new patch's LoRA: its own, or that of the LoRA it continues.

    Raises:
        ConfigError: If both are given and differ.
    """
    if continued is None:
        return own
    theirs = None  # one that is not on the base is refused in `base_patches_of`
    if isinstance(continued, str) and continued in patches:
        theirs = patches[continued].config.lora
    if own is not None and own != theirs:
        raise ConfigError(
            f"the new patch continues the LoRA of '{continued}' and so has its shape; leave "
            "`lora` out"
        )
    return theirs


def with_names(config: PatchConfig, patches: Mapping[str, Patch], where: str) -> PatchConfig:
    """A loaded patch's config with the names that its base patches have on this model.

    Args:
        config: As in `patch.json`.
        patches: Patches on the base.
        where: The folder, for the message.

    Raises:
        PatchError: If one of them is not there.
    """
    found = []
    for base_patch in config.base_patches:
        name = None
        for other in patches.values():
            if weight_hashes(other.config.files) == base_patch.files:
                # The last one, if it was loaded twice: several arms of an evaluation may each bring
                # their own.
                name = other.name
        if name is None:
            raise PatchError(_missing(base_patch, where))
        found.append(base_patch.model_copy(update={"name": name}))
    return config.model_copy(update={"base_patches": found})


def _missing(base_patch: BasePatch, where: str) -> str:
    """What to load first."""
    facts = []
    if base_patch.channel is not None:
        facts.append(f"channel {base_patch.channel}")
    if base_patch.task is not None:
        facts.append(base_patch.task)
    told = f" ({', '.join(facts)})" if facts else ""
    digest = next(iter(base_patch.files.values()), "")[:12]  # enough to find it by
    return (
        f"{where} was trained on top of the patch '{base_patch.name}'{told}, which is not "
        f"loaded; load that one first (its weights have sha256 {digest}...)"
    )


def with_hashes(config: PatchConfig, patches: Mapping[str, Patch]) -> PatchConfig:
    """A config to save, with the hashes by which its base patches will be recognised.

    Args:
        config: Of the patch to save.
        patches: Patches on the base.

    Raises:
        PatchError: If one of them was never saved, or has changed since.
    """
    found = []
    for base_patch in config.base_patches:
        patch = patches[base_patch.name]
        if patch.changed:  # then its files hold other weights than it was trained on
            raise PatchError(
                f"the patch is trained on top of '{patch.name}', which has changed since it was "
                "saved; save that one again first"
            )
        files = weight_hashes(patch.config.files)  # recorded when it was saved or loaded
        if not files:
            raise PatchError(
                f"the patch is trained on top of '{patch.name}', which has not been saved; save "
                "that one first"
            )
        found.append(base_patch.model_copy(update={"files": files}))
    return config.model_copy(update={"base_patches": found})


def on_top_of(patches: Mapping[str, Patch], name: str) -> list[str]:
    """Patches that were trained on top of one."""
    found = []
    for patch in patches.values():
        below = [base_patch.name for base_patch in patch.config.base_patches]
        if name in below:
            found.append(patch.name)
    return found


def weight_hashes(files: Mapping[str, str]) -> dict[str, str]:
    """The hashes that tell one patch from another: those of its tensors."""
    return {name: digest for name, digest in files.items() if name.endswith(".safetensors")}
