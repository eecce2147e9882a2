"""`pave combine`."""

from __future__ import annotations

from pathlib import Path

from pave.cli import output


def combine_verb(*patch: str, out: Path, base: str | None = None) -> int:
    """Join LoRA-only patches of one base to one patch: its update is the sum of theirs.

    Patches with a fusion are refused, because a patch folder holds one channel; load them side by
    side with several `--patch`.

    ```
    pave combine runs/a/patch runs/b/patch --out both
    ```

    Args:
        patch: Patch folders or Hub ids, two or more.
        out: Folder for the new patch.
        base: The base model: smol, a folder or a Hub id. The one the first patch was made for when
            not given.
    """
    from pave.bases import load_base
    from pave.errors import ConfigError
    from pave.model.export import combine_patches
    from pave.patches import read_config
    from pave.patches.remote import locate

    if len(patch) < 2:
        raise ConfigError("name two patches or more to combine")
    folders = list(map(locate, patch))
    known = read_config(folders[0]).base
    revision = known.revision if base is None else None
    # The tower has no part in it.
    loaded = load_base(base or known.name, revision=revision, tower=False)
    output.line(str(combine_patches(folders, out, loaded)))
    return 0
