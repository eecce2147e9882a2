"""Started by torchrun or `accelerate launch`: which verbs share their work, and how.

Every process runs the whole command. A verb that does not know of the others would do all the work
in each of them, and write the same files.
"""

from __future__ import annotations

import os

from pave.errors import ConfigError
from pave.launcher import must_be_known, processes

SHARING = ("train", "eval", "extract")
"""Verbs that divide their work among the processes of a launch."""


def check_verb(verb: str) -> None:
    """Refuse to run a verb in several processes that is made for one.

    Raises:
        ConfigError: If this is one process of several.
    """
    if processes() > 1 and verb not in SHARING:
        raise ConfigError(
            f"pave {verb} works in one process but was started in {processes()}; start it "
            f"without torchrun (commands that share their work: {', '.join(SHARING)})"
        )


def own_shard(shard: str | None) -> str | None:
    """The part of the work that is this process's.

    Args:
        shard: The part that was asked for, if any.

    Raises:
        ConfigError: If there are several processes and a part as well, or several that know neither
            of each other nor of a part.
    """
    count = processes()
    if count == 1:
        # Whoever starts several by hand gives each its part.
        if shard is None:
            must_be_known()
        return shard
    if shard is not None:
        raise ConfigError(
            f"--shard {shard} and {count} processes of one launch divide the work twice; "
            "leave out one of them"
        )
    # Parts are counted from 1, ranks from 0.
    return f"{int(os.environ['RANK']) + 1}/{count}"
