"""The version and the name on the package index, named by rooms that do not import the package."""

from __future__ import annotations

__version__ = "0.1.0"
DISTRIBUTION = "video-pave"
"""What pip calls this package; `pave` on the package index is somebody else's."""
SETUP_SMOL = "pave setup smol"
"""The command that installs whatever the embedded base and world lack."""


def install_extra(name: str) -> str:
    """The command that installs an extra, for messages.

    Example:
        >>> install_extra("eval")
        "pip install 'video-pave[eval]'"
    """
    return f"pip install '{DISTRIBUTION}[{name}]'"
