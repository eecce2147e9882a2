"""Whether a head shares the word embedding's memory, told from the files without loading them.

`from_pretrained` ties the two where the configuration says so, unless the files hold a head with
other numbers. Several configurations of Hugging Face say "tied" by default, where the folder says
nothing: InternVL's do, and its larger models have a head of their own.
"""

from __future__ import annotations

from typing import Any

from pave import hf_compat
from pave.bases.hub import access
from pave.bases.source import INDEX, WHOLE, read_json

HEAD, EMBEDDING = "lm_head.weight", "embed_tokens.weight"
"""How their names end in the files of every family, old and new."""

ROWS = 16
"""Words whose rows are compared; different heads differ in the first."""


def tie_as_in_files(source: str, config: Any) -> None:
    """Untie a configuration whose files hold a head of its own, as `from_pretrained` does.

    Args:
        source: Folder or Hub id; nothing but the list of its tensors is fetched.
        config: Hugging Face's configuration of it, which is changed.
    """
    if not getattr(config, "tie_word_embeddings", False):
        return
    files = _files(source)
    head, embedding = _ending(files, HEAD), _ending(files, EMBEDDING)
    if head is None or embedding is None:
        return
    if not _same(source, (files[head], head), (files[embedding], embedding)):
        config.tie_word_embeddings = False


def _files(source: str) -> dict[str, str]:
    """Tensor -> file; empty where that cannot be told without fetching weights."""
    index = read_json(source, INDEX)
    if index:
        return dict(index.get("weight_map") or {})
    path = hf_compat.find_file(source, WHOLE, cached_only=True, **access(source))
    if path is None:
        return {}

    from safetensors import safe_open

    with safe_open(path, framework="pt") as tensors:
        return dict.fromkeys(tensors.keys(), WHOLE)


def _ending(files: dict[str, str], end: str) -> str | None:
    """The tensor whose name ends so."""
    found = [name for name in files if name == end or name.endswith(f".{end}")]
    return found[0] if found else None


def _same(source: str, head: tuple[str, str], embedding: tuple[str, str]) -> bool:
    """Whether two tensors, given as (file, name), begin with the same rows.

    A head in a file that is not here counts as one of its own: nobody stores a copy on purpose.
    """
    import torch
    from safetensors import safe_open

    rows = []
    for file, name in (head, embedding):
        path = hf_compat.find_file(source, file, cached_only=True, **access(source))
        if path is None:
            return False
        with safe_open(path, framework="pt") as tensors:
            rows.append(tensors.get_slice(name)[:ROWS])  # [ROWS, D]
    return torch.equal(rows[0], rows[1])
