"""`pave bases`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch


def bases_verb(
    *,
    build: Literal["smol"] | None = None,
    out: Path | None = None,
    scratch: Path = Path("outputs/build-smol"),
    json: Switch = False,
) -> int:
    """List the families of base models that pave can patch, and whether the embedded base is ready to use.

    A base is named by its folder or its Hub id; `smol` is the small one that comes with pave.

    ```
    pave bases
    pave bases --build smol
    ```

    Args:
        build: Train the weights that the embedded base ships, from its wheels (hours of CPU time,
            needed by nobody but us).
        out: With --build, where the weights go; into the package when not given.
        scratch: With --build, where work is kept between interrupted runs.
        json: Print JSON.
    """
    return _list(json) if build is None else _build(out, scratch, json)


def _list(json: bool) -> int:
    from pave.bases.families import list_specs
    from pave.bases.smol.assemble import SETUP, missing_parts

    families: dict[str, list[str]] = {}
    for spec in list_specs():
        families.setdefault(spec.name, []).extend(spec.model_types)
    missing = missing_parts()
    if json:
        rows = [{"name": name, "model_types": types} for name, types in families.items()]
        output.as_json(
            {"families": rows, "smol": {"ready": not missing, "missing": missing, "setup": SETUP}}
        )
        return 0
    output.table(
        ["family", "model types of Hugging Face"],
        [[name, ", ".join(types)] for name, types in families.items()],
    )
    output.line(
        "\nsmol: "
        + (f"not ready, {', '.join(missing)} missing; run: {SETUP}" if missing else "ready")
    )
    return 0


def _build(out: Path | None, scratch: Path, json: bool) -> int:
    from pave.bases.smol.assemble import SHIPPED
    from pave_world.smol.build import build

    output.log_to_stderr()
    target = out or SHIPPED
    numbers = build(target, scratch)
    if json:
        output.as_json({"weights": target, **numbers})
    else:
        output.facts(
            [("weights", str(target)), *((name, str(value)) for name, value in numbers.items())]
        )
    return 0
