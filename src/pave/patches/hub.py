"""The Hugging Face Hub: which names are its own, and what its client's errors mean."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pave import hf_compat
from pave.errors import PatchError

# owner/name, both starting with a letter or digit, so that ./a and ../a are paths.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LOG_IN = "log in with `hf auth login` or set HF_TOKEN"


def is_hub_id(name: str) -> bool:
    """Whether a name can only be a repository on the Hub: `owner/name`, and no path here.

    Example:
        >>> is_hub_id("llava-hf/llava-onevision-qwen2-7b-ov-hf"), is_hub_id("./llava")
        (True, False)
    """
    return could_be_hub_id(name) and not os.path.exists(name)


def could_be_hub_id(name: str) -> bool:
    """Whether a name has the form `owner/name`, whatever lies here under it."""
    return _HUB_ID.fullmatch(name) is not None and hf_compat.can_be_hub_id(name)


@contextmanager
def explained(what: str, revision: str | None = None) -> Iterator[None]:
    """What the Hub's client raises in here becomes one line.

    Args:
        what: Begins the line: "'someone/x' cannot be fetched from the Hub".
        revision: The revision that is asked for, for the message.

    Raises:
        PatchError: In place of the client's own errors and of the connection's.
    """
    try:
        yield
    except hf_compat.hub_errors() as error:
        raise PatchError(f"{what}: {_why(error, revision)}") from error


def _why(error: Exception, revision: str | None) -> str:
    """What is wrong and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled | errors.LocalEntryNotFoundError):
        return _unreachable(error)
    if isinstance(error, errors.HfHubHTTPError):
        return _refused(error, revision)
    if isinstance(error, ValueError):  # of names and cards, short and to the point
        return " ".join(str(error).split())
    # The client explains itself over many lines; the first one says what is wrong.
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if isinstance(error, OSError):
        return lines[0]
    return f"the Hub cannot be reached ({lines[0]}); check the connection"


def _unreachable(error: Exception) -> str:
    """Why nothing came over the net, and why the cache does not do."""
    from huggingface_hub import constants, errors

    have = "it is not in the local cache"
    if isinstance(error, errors.IncompleteSnapshotError):
        have = "only part of it is in the local cache"
    # Pushing never looks into the cache.
    if isinstance(error, errors.OfflineModeIsEnabled):
        have = "this needs the Hub"
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set and {have}; unset it to connect"
    return f"the Hub cannot be reached and {have}; check the connection"


def _refused(error: Exception, revision: str | None) -> str:
    """An answer of the Hub that says no."""
    from huggingface_hub import errors

    # Before what is not found: to the client a gated repository is one of those.
    if isinstance(error, errors.GatedRepoError):
        return f"access is gated; accept the conditions on its page on the Hub, and then {_LOG_IN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"it does not exist, or you may not read it; check the name, or {_LOG_IN} if it is "
            "private"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"it has no revision {revision!r}; give one of its branches, tags or commits"
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status == 401:
        return f"the Hub does not know who you are; {_LOG_IN}"
    if status == 403:
        return "your token does not allow this; use a token with write access to the repository"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0]
