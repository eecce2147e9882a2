"""A Hub of one's own: repositories in a cache folder, as `huggingface_hub` keeps them, offline.

    hub = Hub(tmp_path, monkeypatch)
    hub.add("someone/model", folder, commit="a" * 40, names=("main", "v1"))
    load_base("someone/model", revision="v1")

`hub.fetched` lists what was asked for, with the revision and the token it was asked with.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from transformers.utils import hub as readers


class Hub:
    """See the module."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache = folder / "hub"
        self.fetched: list[tuple[str, str | None, Any]] = []
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(self.cache))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        self._patch = monkeypatch

    def add(self, name: str, source: Path, commit: str, names: Sequence[str] = ("main",)) -> None:
        """A commit of a repository, with branches and tags that point at it."""
        place = self.cache / f"models--{name.replace('/', '--')}"
        shutil.copytree(source, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        for ref in names:
            (place / "refs" / ref).write_text(commit)

    def ask_for_every_file(self) -> None:
        """As where no commit is known: each file is asked of the Hub, which is this one."""

        def fetch(name: str, file: str, *, revision: str | None, token: Any, **_: Any) -> str:
            self.fetched.append((file, revision, token))
            found = try_to_load_from_cache(name, file, revision=revision)
            if not isinstance(found, str):
                raise EntryNotFoundError(file)
            return found

        def fetch_all(name: str, *, allow_patterns: Any = None, **options: Any) -> None:
            for file in allow_patterns or ["*"]:
                self.fetched.append((file, options.get("revision"), options.get("token")))

        self._patch.setattr(readers, "resolve_revision", lambda name, revision, **_: revision)
        self._patch.setattr(readers, "_pinned_commit_hash", lambda revision: None)
        self._patch.setattr(readers, "hf_hub_download", fetch)
        self._patch.setattr(readers, "snapshot_download", fetch_all)
