"""`python -m pave` is `pave`."""

from __future__ import annotations

import sys

from pave.cli import main

# Not on import: processes that multiprocessing spawns import this module again.
if __name__ == "__main__":
    sys.exit(main())
