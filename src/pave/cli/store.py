"""`pave store`."""

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


def store_verb(
    action: Literal["stats", "list", "verify", "gc", "pack", "merge"],
    folder: Path,
    /,
    *sources: Path,
    drop: Words = None,
    keep: Files = None,
    remove: Switch = False,
    json: Switch = False,
) -> int:
    """Look into a store of tokens, check it, clean it up, join several.

    `stats` counts what is there, `list` names every entry, `verify` reads everything and compares
    checksums, `gc` removes left-overs and what you name, `pack` moves single files into shards,
    `merge` copies what other stores have. All of them may run while others read and write.

    ```
    pave store stats tokens
    pave store verify tokens --remove
    pave store gc tokens --drop audio/mel
    pave store gc tokens --keep train.jsonl --keep test.jsonl
    pave store merge tokens part1 part2
    ```

    Args:
        action: What to do.
        folder: The store; with merge, the one that grows.
        sources: With merge, the stores to copy from.
        drop: With gc, remove the entries of these labels (see stats).
        keep: With gc, remove the entries whose media is in none of these records files.
        remove: With verify, remove what is damaged.
        json: Print JSON.
    """
    from pave.cache import TokenCache, is_store
    from pave.errors import ConfigError

    _check(action, sources, bool(drop or keep), remove)
    if action != "merge" and not is_store(folder):
        raise ConfigError(f"there is no store at {folder}; check the path")
    store = TokenCache(folder) if action != "merge" else _open_like(folder, sources)
    found, code = _ACTIONS[action](store, sources, drop or [], keep, remove)
    if json:
        output.as_json(found)
    elif action == "list":
        _table(found)
    else:
        output.facts(
            [
                (name.replace("_", " "), _text(value))
                for name, value in found.items()
                if name != "damaged"
            ]
        )
        for line in found.get("damaged", []):
            output.line(line)
    return code


def _check(action: str, sources: tuple[Path, ...], chooses: bool, remove: bool) -> None:
    from pave.errors import ConfigError

    if bool(sources) != (action == "merge"):
        raise ConfigError(
            "merge needs the stores to copy from"
            if action == "merge"
            else f"{action} takes one store"
        )
    if chooses and action != "gc":
        raise ConfigError("--drop and --keep belong to gc")
    if remove and action != "verify":
        raise ConfigError("--remove belongs to verify")


def _open_like(folder: Path, sources: tuple[Path, ...]) -> TokenCache:
    """The store that grows; a new one keeps what the first source keeps."""
    from pave.cache import TokenCache, is_store, kept_dtype
    from pave.errors import ConfigError

    missing = [source for source in sources if not is_store(source)]
    if missing:
        raise ConfigError(f"there is no store at {missing[0]}; check the path")
    return TokenCache(folder, None if folder.is_dir() else kept_dtype(sources[0]))


def _stats(store: TokenCache, *_: Any) -> tuple[Any, int]:
    from pave.cache import stats

    return stats(store), 0


def _list(store: TokenCache, *_: Any) -> tuple[Any, int]:
    from pave.cache import list_entries

    return [vars(entry) for entry in list_entries(store)], 0


def _verify(store: TokenCache, sources: Any, drop: Any, keep: Any, remove: bool) -> tuple[Any, int]:
    from pave.cache import verify

    with output.stages() as bars:
        report = verify(
            store, remove=remove, progress=lambda done, total: bars("entries", done, total)
        )
    return vars(report), 2 if report.damaged and not remove else 0


def _gc(
    store: TokenCache, sources: Any, drop: list[str], keep: list[Path] | None, remove: bool
) -> tuple[Any, int]:
    from pave.cache import gc

    return vars(gc(store, drop=drop, keep=None if keep is None else _contents(store, keep))), 0


def _contents(store: TokenCache, files: list[Path]) -> set[str]:
    """Digests of all media that some records name."""
    from pave.data import read_records

    sources: list[Any] = []
    for file in files:
        for record in read_records(file):
            sources += [record.video, *record.channels.values()]
    return {store.content(source) for source in sources}


def _pack(store: TokenCache, *_: Any) -> tuple[Any, int]:
    from pave.cache import pack

    return {"packed": pack(store)}, 0


def _merge(store: TokenCache, sources: tuple[Path, ...], *_: Any) -> tuple[Any, int]:
    from pave.cache import TokenCache, merge

    return {"copied": merge(store, [TokenCache(source) for source in sources])}, 0


_ACTIONS = {
    "stats": _stats,
    "list": _list,
    "verify": _verify,
    "gc": _gc,
    "pack": _pack,
    "merge": _merge,
}


def _table(entries: list[dict[str, Any]]) -> None:
    rows = [
        [entry["key"][:16], entry["label"] or "-", f"{entry['bytes']:,}", entry["place"][:40]]
        for entry in entries
    ]
    output.table(["key", "made by", "bytes", "file"], rows)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        return "; ".join(
            f"{name or 'unknown'}: {', '.join(f'{n:,} {what}' for what, n in row.items())}"
            for name, row in value.items()
        )
    return str(value)
