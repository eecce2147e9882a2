"""`Repository`: a Hub id together with which commit of it is read, and who reads it."""

from __future__ import annotations

import os
from typing import Any, Self

from pave import hf_compat
from pave.errors import BaseError


class Repository(str):
    """A Hub id that carries a revision and a token to everything that reads its files.

    A base is read from many files by several libraries, each of which has to be told both. Where a
    folder's path goes, this goes too; it shows as the id alone, so no message can hold the token.

    Attributes:
        revision: Branch, tag or commit; None for the default branch.
        token: As Hugging Face's readers take it: None for the one of `HF_TOKEN` or `hf auth login`.

    Example:
        >>> Repository("someone/model", "v1.0", "hf_secret")
        'someone/model'
    """

    revision: str | None
    token: str | bool | None

    def __new__(
        cls, name: str, revision: str | None = None, token: str | bool | None = None
    ) -> Self:
        """Make it of the id, and of what its files are to be read with."""
        # The text is the id alone: what is compared, printed and written.
        made = super().__new__(cls, name)
        made.revision = revision
        made.token = token
        return made


def located(source: str, revision: str | None, token: str | bool | None) -> str:
    """A source with what its files are to be read with; a folder stays as it is.

    A branch or a tag is looked up once, so that all files are of one commit.

    Raises:
        BaseError: If a folder has been given a revision.
    """
    # A folder wins over a Hub id of the same name, as with Hugging Face's readers.
    if source == "smol" or os.path.exists(source):
        if revision is not None:
            raise BaseError(
                f"{source}: revision {revision!r} applies to Hub ids only; leave it out"
            )
        return source
    if not hf_compat.can_be_hub_id(source):  # whoever checks the source says what is wrong
        return source
    return Repository(source, hf_compat.find_revision(source, revision, token), token)


def access(source: str) -> dict[str, Any]:
    """Keywords for Hugging Face's readers: what a source is to be read with.

    Example:
        >>> access("a/folder"), access(Repository("someone/model", "v1.0"))
        ({}, {'revision': 'v1.0', 'token': None})
    """
    if not isinstance(source, Repository):  # a folder's files are as they are
        return {}
    return {"revision": source.revision, "token": source.token}


def commit_of(source: str) -> str | None:
    """The commit that a source's files are of; None for a folder, or where the Hub did not say."""
    if not isinstance(source, Repository):
        return None
    return hf_compat.commit_of(source.revision)
