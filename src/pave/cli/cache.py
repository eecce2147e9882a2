"""`pave cache`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from pave.cli import output
from pave.cli.settings import Switch

if TYPE_CHECKING:
    from pave.cache import TokenCache

Words = Annotated[list[str] | None, Parameter(show_default=False)]
Files = Annotated[list[Path] | None, Parameter(show_default=False)]


def cache_verb(
    action: Literal["stats", "list", "verify", "gc", "merge"],
    folder: Path,
    /,
    *sources: Path,
    drop: Words = None,
    keep: Files = None,
    remove: Switch = False,
    json: Switch = False,
) -> int:
    """Inspect, verify, or clean a token cache, or merge several into one.

    `stats` counts the entries, and `list` names them. `verify` reads everything and compares
    checksums. `gc` removes left-over files and the entries that you select. `merge` copies the
    entries of other caches. All of them may run while other processes read and write.

    ```
    pave cache stats tokens
    pave cache verify tokens --remove
    pave cache gc tokens --drop audio/mel
    pave cache gc tokens --keep train.jsonl --keep test.jsonl
    pave cache merge tokens part1 part2
    ```

    Args:
        action: What to do.
        folder: The token cache. With merge, the one that receives the entries.
        sources: With merge, the token caches to copy from.
        drop: With gc, remove the entries with these labels, as stats shows them.
        keep: With gc, remove the entries whose media are in none of these records files.
        remove: With verify, remove damaged entries.
        json: Print JSON.
    """
    _check(action, sources, chooses=bool(drop or keep), remove=remove)
    code = 0
    if action == "merge":
        found = _merge(folder, sources)
    else:
        cache = _open(folder)
        if action == "stats":
            found = _stats(cache)
        elif action == "list":
            found = _list(cache)
        elif action == "gc":
            found = _gc(cache, drop or [], keep)
        else:
            found = _verify(cache, remove)
            code = 2 if found["damaged"] and not remove else 0
    if json:
        output.as_json(found)
    elif action == "list":
        _table(found)
    else:
        _tell(found)
    return code


def _check(action: str, sources: tuple[Path, ...], *, chooses: bool, remove: bool) -> None:
    """Refuse what does not go together."""
    from pave.errors import ConfigError

    if action == "merge" and not sources:
        raise ConfigError("merge needs the token caches to copy from after the one to copy into")
    if action != "merge" and sources:
        raise ConfigError(f"{action} takes one token cache")
    if chooses and action != "gc":
        raise ConfigError("--drop and --keep work only with gc; leave them out")
    if remove and action != "verify":
        raise ConfigError("--remove works only with verify; leave it out")


def _open(folder: Path) -> TokenCache:
    from pave.cache import TokenCache

    _must_be_cache(folder)
    return TokenCache(folder)


def _must_be_cache(folder: Path) -> None:
    from pave.cache import is_cache
    from pave.errors import ConfigError

    if not is_cache(folder):
        raise ConfigError(f"there is no token cache at {folder}; check the path")


def _merge(folder: Path, sources: tuple[Path, ...]) -> Any:
    from pave.cache import TokenCache, kept_dtype, merge

    for source in sources:
        _must_be_cache(source)
    # A new cache keeps what the first source keeps.
    dtype = None if folder.is_dir() else kept_dtype(sources[0])
    into = TokenCache(folder, dtype)
    return {"copied": merge(into, [TokenCache(source) for source in sources])}


def _stats(cache: TokenCache) -> Any:
    from pave.cache import stats

    return stats(cache)


def _list(cache: TokenCache) -> Any:
    from pave.cache import list_entries

    return [vars(entry) for entry in list_entries(cache)]


def _gc(cache: TokenCache, drop: list[str], keep: list[Path] | None) -> Any:
    from pave.cache import gc

    wanted = None
    if keep is not None:
        wanted = _contents(cache, keep)
    return vars(gc(cache, drop=drop, keep=wanted))


def _contents(cache: TokenCache, files: list[Path]) -> set[str]:
    """Digests of all media that some records name."""
    from pave.data import read_records

    contents = set()
    for file in files:
        for record in read_records(file):
            contents.add(cache.content(record.video))
            for media in record.channels.values():
                contents.add(cache.content(media))
    return contents


def _verify(cache: TokenCache, remove: bool) -> Any:
    from pave.cache import verify

    with output.stages() as bars:
        report = verify(
            cache, remove=remove, progress=lambda done, total: bars("entries", done, total)
        )
    return vars(report)


def _table(entries: list[dict[str, Any]]) -> None:
    rows = []
    for entry in entries:
        label = entry["label"] or "-"
        rows.append([entry["key"][:16], label, f"{entry['bytes']:,}", entry["place"][:40]])
    output.table(["key", "made by", "bytes", "file"], rows)


def _tell(found: dict[str, Any]) -> None:
    """Numbers in two columns, then a line for each damaged entry."""
    damaged = found.pop("damaged", [])
    output.facts([(name.replace("_", " "), _text(value)) for name, value in found.items()])
    for line in damaged:
        output.line(line)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        # Label -> {"entries": 3, "bytes": 5000}.
        parts = []
        for label, row in value.items():
            counts = ", ".join(f"{number:,} {what}" for what, number in row.items())
            parts.append(f"{label or 'unknown'}: {counts}")
        return "; ".join(parts)
    return str(value)
