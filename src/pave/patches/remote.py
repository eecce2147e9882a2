"""Patches on the Hub: fetched, published and searched for with the Hub's own client."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pave.errors import PatchError
from pave.patches.folder import check_folder, read_config
from pave.patches.folder_card import fresh_card
from pave.patches.hub import could_be_hub_id, explained, is_hub_id
from pave.patches.installed import installed_folder
from pave.patches.layout import CARD, FILES, MANIFEST, is_part, weight_files
from pave.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

TAG = "pave"
"""The tag by which patches are found; every card has it."""


def locate(
    source: str | Path, revision: str | None = None, token: str | bool | None = None
) -> Path:
    """The local folder of a patch.

    That is a path as it is, the folder of a patch that is installed by name
    (`pave.patches.installed`), or a Hub id that is downloaded or found in the cache.

    Only the files of a patch are fetched, never code.

    Args:
        source: A folder, the name of an installed patch, or a Hub id `owner/name`.
        revision: Branch, tag or commit of a Hub id; its main branch when not given.
        token: As Hugging Face's readers take it: None for the one of `HF_TOKEN` or
            `hf auth login`.

    Raises:
        PatchError: If the Hub cannot be reached, has no such repository or revision, does not let
            us read it, or holds no whole patch there.
    """
    if not isinstance(source, str | Path):
        raise PatchError(
            f"a patch must be a folder or a Hub id owner/name, got {type(source).__name__}"
        )
    name = str(source)
    if not is_hub_id(name):
        if revision is not None:
            raise PatchError(
                f"revision {revision!r} is for a patch on the Hub, but {name} is not a Hub id; "
                "leave it out"
            )
        # Names of arms and of base patches come as paths too.
        return installed_folder(name) or Path(source)
    from huggingface_hub import snapshot_download

    with explained(f"'{name}' is not a local folder and cannot be fetched from the Hub", revision):
        found = snapshot_download(name, revision=revision, token=token, allow_patterns=list(FILES))
    folder = Path(found)
    _must_be_whole(name, folder)
    return folder


def _must_be_whole(name: str, folder: Path) -> None:
    """Refuse a repository of something else, and one that was uploaded in part."""
    if not (folder / MANIFEST).is_file():
        raise PatchError(
            f"'{name}' on the Hub has no {MANIFEST}: it is not a pave patch, or its upload was "
            "not finished"
        )
    for file in weight_files(read_config(folder)):
        if not (folder / file).is_file():
            raise PatchError(
                f"'{name}' on the Hub lacks {file}, which its {MANIFEST} needs; its upload was not "
                "finished"
            )


def push_folder(
    folder: str | Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> str:
    """Publish a patch folder as a repository on the Hub, in one commit.

    The repository is made where it is missing. A patch that is there already is replaced: what the
    new one lacks goes in the same commit. A card that pave generated gets the repository's name in
    its example; one that somebody edited goes up as it is.

    Args:
        folder: A whole patch folder.
        repo: `owner/name`.
        private: Whether only its owner may read it; the account's own default when not given.
        revision: Branch to write to, made where it is missing; main when not given.
        token: As in `locate`; it needs the right to write.

    Returns:
        Address of the commit.

    Raises:
        PatchError: If the folder is damaged, the name is no Hub id, the repository is more public
            than asked for, or the Hub cannot be reached or refuses.

    Example:
        >>> push_folder("runs/sound/patch", "someone/pave-sound", private=True)  # doctest: +SKIP
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    folder = Path(folder)
    # All that can be refused here is refused before anything is published.
    check_folder(folder)
    if not could_be_hub_id(repo):
        raise PatchError(f"{repo!r} is not a repository name; use owner/name")
    files = _uploads(folder, repo)
    api = HfApi(token=token, library_name="pave", library_version=__version__)
    with explained(f"the patch cannot be pushed to '{repo}'", revision):
        _make_repository(api, repo, private, revision)
        there = api.list_repo_files(repo, revision=revision)
        adds = [CommitOperationAdd(name, content) for name, content in files.items()]
        stale = [name for name in there if is_part(name) and name not in files]
        # One commit, so that nobody ever fetches half of the old patch and half of the new one.
        # `upload_folder` may make several.
        done = api.create_commit(
            repo,
            [*adds, *map(CommitOperationDelete, stale)],
            commit_message=f"Upload a patch with pave {__version__}",
            revision=revision,
        )
    return str(done.commit_url)


def _make_repository(api: HfApi, repo: str, private: bool | None, revision: str | None) -> None:
    """Make repository and branch where they are missing."""
    api.create_repo(repo, private=private, exist_ok=True)
    # One that exists keeps its visibility, whatever was asked for.
    if private and not api.model_info(repo).private:
        raise PatchError(
            f"'{repo}' exists and is public, so the patch would not be private; make it private in "
            "its settings, or choose another name"
        )
    if revision is not None:
        api.create_branch(repo, branch=revision, exist_ok=True)


def _uploads(folder: Path, repo: str) -> dict[str, bytes | Path]:
    """What to publish: path in the repository -> content, or the file that holds it."""
    files: dict[str, bytes | Path] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and is_part(name):
            files[name] = path
    card = fresh_card(folder, source=repo)
    if card is not None:
        files[CARD] = card.encode()
    else:
        logger.warning(
            "%s was edited, or written by another version of pave, so it is uploaded as it is",
            folder / CARD,
        )
    return files


@dataclass(frozen=True)
class FoundPatch:
    """A patch on the Hub, as a search finds it.

    Attributes:
        repo: Its Hub id.
        base: The base that its card names; empty where it names none.
        tags: Its tags, the channel among them.
        downloads: In the last month, as the Hub counts them.
        private: Whether only its owner sees it.
    """

    repo: str
    base: str
    tags: Sequence[str]
    downloads: int
    private: bool


def search_patches(
    words: str = "",
    *,
    channel: str | None = None,
    base: str | None = None,
    limit: int = 20,
    token: str | bool | None = None,
) -> list[FoundPatch]:
    """Patches on the Hub, the most downloaded first.

    Args:
        words: Part of the repository's name.
        channel: Only patches of this channel.
        base: Only patches for this base, by its Hub id.
        limit: At most so many.
        token: As in `locate`; private patches are found with their owner's.

    Raises:
        PatchError: If the Hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi

    filters = [TAG]
    if channel is not None:
        filters.append(channel)
    if base is not None:
        # The Hub makes this tag of `base_model` and `base_model_relation` on the card.
        filters.append(f"base_model:adapter:{base}")
    api = HfApi(token=token, library_name="pave", library_version=__version__)
    with explained("the Hub cannot be searched"):
        models = api.list_models(
            filter=filters, search=words or None, sort="downloads", limit=limit
        )
        # Pages are fetched while they are read, so errors come up here too.
        found = list(models)
    patches = []
    for model in found:
        tags = list(model.tags or [])
        patches.append(
            FoundPatch(
                repo=model.id,
                base=_base_of(tags),
                tags=[tag for tag in tags if ":" not in tag],
                downloads=model.downloads or 0,
                private=bool(model.private),
            )
        )
    return patches


def _base_of(tags: Sequence[str]) -> str:
    """The base among a repository's tags, which the Hub writes `base_model:adapter:owner/name`."""
    for tag in tags:
        if tag.startswith("base_model:"):
            return tag.rpartition(":")[2]
    return ""
