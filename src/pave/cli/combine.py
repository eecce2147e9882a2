"""`pave combine`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pave.cli import output


def combine_verb(
    *patch: str,
    out: Path,
    how: Literal["apart", "cat", "linear", "ties", "dare", "svd"] | None = None,
    density: float = 0.5,
    base: str | None = None,
) -> int:
    r"""Join patches of one base to one patch that holds the channels of all.

    Each channel keeps its own fusion; `--how` decides what happens to the LoRAs.

    ```
    pave combine runs/sound/patch runs/views/patch --out both
    pave combine runs/sound/patch runs/views/patch --out merged --how ties \
        --density 0.3
    pave combine runs/lora-a/patch runs/lora-b/patch --out sum
    ```

    Args:
        patch: Patch folders or Hub ids, two or more.
        out: Folder for the new patch.
        how: What becomes of the LoRAs. apart keeps one per channel, on only where its channel is
            present. The others make one LoRA, as peft does: cat (exactly the sum), linear, ties,
            dare, or svd. By default apart, or cat for LoRA-only patches.
        density: Share of the weights that ties and dare keep.
        base: The base model: smol, a folder, or a Hub id. By default the base of the first patch.
    """
    from pave.bases import load_base
    from pave.errors import ConfigError
    from pave.model.combine import combine_patches
    from pave.patches import read_config
    from pave.patches.remote import locate

    if len(patch) < 2:
        raise ConfigError("name two patches or more to combine")
    if not 0 < density <= 1:
        raise ConfigError(f"--density must be above 0 and at most 1, got {density}")
    # Fetched, where they are on the Hub.
    folders = list(map(locate, patch))
    known = read_config(folders[0]).base
    revision = known.revision if base is None else None
    # The tower has no part in it.
    loaded = load_base(base or known.name, revision=revision, tower=False)
    output.line(str(combine_patches(folders, out, loaded, how, density=density)))
    return 0
