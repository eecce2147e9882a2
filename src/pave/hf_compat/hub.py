"""huggingface_hub: names of repositories, their files, and the commit that a run reads."""

from __future__ import annotations

import re
from pathlib import Path


def can_be_hub_id(name: str) -> bool:
    """Whether the Hub could have a repository of that name.

    `validate_repo_id` is in the `__all__` of `huggingface_hub.utils`, but type checkers do not see
    it there. Checked with the huggingface_hub of transformers 5.23.0.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return bool(name)


def hub_errors() -> tuple[type[Exception], ...]:
    """What the Hub's client raises where the Hub says no or cannot be reached.

    A broken connection comes as an error of the HTTP library below, which has changed its name; it
    is the first parent of `HfHubHTTPError`. Checked with huggingface_hub 2.4.0.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    connection: type[Exception] = HfHubHTTPError.__bases__[0]
    return (OSError, HFValidationError, connection)


def find_file(
    source: str,
    name: str,
    *,
    cached_only: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Path | None:
    """A file of a model folder or Hub id; None where it cannot be had.

    `transformers.utils.cached_file` raises unless two private arguments say otherwise. Checked with
    transformers 5.23.0.

    Args:
        source: Folder or Hub id.
        name: The file.
        cached_only: Never ask the Hub.
        revision: Of a Hub id.
        token: To read it with.
    """
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        local_files_only=cached_only,
        revision=revision,
        token=token,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if not found:
        return None
    return Path(found)


def find_revision(source: str, revision: str | None, token: str | bool | None) -> str | None:
    """A revision of a Hub id that knows its commit, so that all files are read from that one.

    It is `transformers.utils.hub.resolve_revision`, whose `ResolvedRevision` is still the word that
    was asked for; where neither Hub nor cache tell, the word comes back as it is. Checked with
    transformers 5.23.0.
    """
    from transformers.utils.hub import resolve_revision

    # It raises nothing: what cannot be found is told by whoever reads the first file.
    found: str | None = resolve_revision(source, revision, token=token)
    return found


def commit_of(revision: str | None) -> str | None:
    """The commit of a revision of `find_revision`: `ResolvedRevision.resolved`.

    A word of 40 hexadecimal digits is its own commit. Checked with transformers 5.23.0.
    """
    # A plain word has no such attribute; git's names of commits have 40 digits.
    found = getattr(revision, "resolved", revision)
    if found is None or not re.fullmatch("[0-9a-f]{40}", found):
        return None
    return str(found)
