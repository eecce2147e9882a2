"""`pave new-channel`."""

from __future__ import annotations

from pathlib import Path

from pave.cli import output


def new_channel_verb(name: str, /, *, out: Path | None = None) -> int:
    """Write a small package with a channel of your own: an encoder, a test, and a recipe.

    It also contains a toy task to try them on.

    ```
    pave new-channel heart
    pave new-channel imu --out packages/imu
    ```

    Args:
        name: Name of the channel: lower-case letters, digits, and `_`.
        out: Folder of the package; by default `pave-NAME` in the current folder.
    """
    from pave.channels.scaffold import write_package
    from pave.files import writing

    with writing(out or Path.cwd()):
        folder = write_package(name, out)
    output.line(f"wrote {folder}; next: pip install -e {folder}")
    return 0
