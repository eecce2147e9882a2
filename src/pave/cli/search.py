"""`pave search`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from pave.cli import output
from pave.cli.settings import Switch


def search_verb(
    words: str = "",
    /,
    *,
    channel: str | None = None,
    base: str | None = None,
    limit: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 20,
    json: Switch = False,
) -> int:
    """List the patches on the Hugging Face Hub, the most downloaded first.

    ```
    pave search
    pave search music --channel audio
    pave search --base llava-hf/llava-onevision-qwen2-7b-ov-hf
    ```

    Args:
        words: Part of the repository's name.
        channel: Only patches of this channel, such as audio.
        base: Only patches for this base model, by its Hub id.
        limit: Maximum number of patches to list.
        json: Print JSON.
    """
    from pave.patches.remote import search_patches

    found = search_patches(words, channel=channel, base=base, limit=limit)
    if json:
        output.as_json(list(map(asdict, found)))
        return 0
    if not found:
        output.note("no patch on the Hub matches; leave a filter out")
        return 0
    rows = []
    for patch in found:
        shown = "private" if patch.private else f"{patch.downloads:,}"
        rows.append([patch.repo, patch.base or "-", shown, ", ".join(patch.tags)])
    output.table(["patch", "base", "downloads", "tags"], rows)
    return 0
