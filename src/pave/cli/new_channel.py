"""`pave new-channel`."""

from __future__ import annotations

from pathlib import Path

from pave.cli import output


def new_channel_verb(name: str, /, *, out: Path | None = None) -> int:
    """Write a tiny package with a channel of your own: an encoder, a test, a recipe.

    A toy task comes with them, to try them on.

    ```
    pave new-channel heart
    pave new-channel imu --out packages/imu
    ```

    Args:
        name: The channel's name: small letters, digits and `_`.
        out: Where to; `pave-NAME` in the current folder when not given.
    """
    from pave.channels.scaffold import write_package
    from pave.files import writing

    with writing(out or Path.cwd()):
        folder = write_package(name, out)
    output.line(f"wrote {folder}; next: pip install -e {folder}")
    return 0
