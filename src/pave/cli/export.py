"""`pave export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.models import patched_model
from pave.placement import DtypeWord


def export_verb(
    patch: str,
    /,
    *,
    out: Path,
    base: str | None = None,
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
) -> int:
    """Merge a LoRA-only patch into its base and write a plain model folder for transformers.

    A patch with a fusion is refused, because only pave can read the fusion.

    ```
    pave export runs/lora/patch --out exported
    pave export someone/pave-lora --base my-base --out exported
    ```

    Args:
        patch: A patch folder or Hub id.
        out: New or empty folder for the model.
        base: The base model: smol, a folder, or a Hub id. By default the base of the patch.
        dtype: Floating-point type of the base and of what is written; auto is that of its files.
        loading: How the base is loaded.
    """
    from pave.model.export import export_merged

    with patched_model(
        [patch], base, off=False, same_weights=False, dtype=dtype, loading=loading
    ) as (model, _):
        folder = export_merged(model, out)
    output.line(str(folder))
    return 0
