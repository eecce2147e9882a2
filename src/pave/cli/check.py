"""`pave check`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from pave.bases.loading import AS_USUAL, Loading
from pave.cli import output
from pave.cli.settings import Switch
from pave.placement import DtypeWord, running_on

if TYPE_CHECKING:
    from pave.bases import Base

# `True` and the others in the words of the table.
_WORDS = {True: "ok", False: "WRONG", None: "skipped"}


def check_verb(
    base: str,
    /,
    *,
    patch: Annotated[tuple[str, ...], Parameter(show_default=False)] = (),
    dtype: DtypeWord = "auto",
    loading: Annotated[Loading, Parameter(name="*")] = AS_USUAL,
    json: Switch = False,
) -> int:
    """Test a base on this machine: its prompt format, tokens, context, and training with a patch.

    It takes about a minute and prints a Markdown table for a bug report. The exit code is 1 if a
    check fails.

    ```
    pave check smol
    pave check llava-hf/llava-onevision-qwen2-7b-ov-hf --dtype bf16
    pave check smol --patch outputs/demo/patch
    ```

    Args:
        base: The base model: smol, a folder, or a Hub id.
        patch: Check instead whether the base with this patch still gives the logits that were saved
            with the patch (its probe). A folder or a Hub id. If the patch was trained on top of
            others, name those first.
        dtype: Floating-point type of the base. auto is the type of its files.
        loading: How the base is loaded.
        json: Print JSON.
    """
    from pave.bases import load_base
    from pave.evaluate.machine import processor, versions
    from pave.testing import check_base

    with running_on(loading.device) as place:
        loaded = load_base(base, dtype=dtype, **loading.on(place))
        if patch:
            return _check_patches(loaded, patch, json)
        machine = {**versions(), "processor": processor(place)}
        rows = []
        if not json:
            installed = ", ".join(map(" ".join, machine.items()))
            output.line(f"`{base}`, family {loaded.family.name}; {installed}\n")
            output.line("| check | | found | seconds |")
            output.line("|---|---|---|---:|")
        for row in check_base(loaded):
            rows.append(row)
            if not json:
                # A bar would end the cell.
                found = row.found.replace("|", "\\|")
                word = _WORDS[row.passed]
                output.line(f"| {row.name} | {word} | {found} | {row.seconds:.1f} |")
    if json:
        output.as_json({"base": base, "machine": machine, "checks": list(map(asdict, rows))})
    return int(any(row.passed is False for row in rows))


def _check_patches(base: Base, sources: Sequence[str], json: bool) -> int:
    """The probes of patches on a base; 1 if one of them differs."""
    from pave.model import PatchedModel, check_probe

    model = PatchedModel(base)
    matches = {}
    for number, source in enumerate(sources):
        name = model.load_patch(source, name=f"patch{number}")
        matches[source] = check_probe(model, name)
    if json:
        output.as_json({source: match.model_dump() for source, match in matches.items()})
    else:
        for source, match in matches.items():
            output.line(f"{source}: {match.told()}")
    return int(any(match.verdict == "different" for match in matches.values()))
