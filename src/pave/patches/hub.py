"""Where a patch comes from: a local folder, an installed package, or a repository on the Hub."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pave.errors import PatchError
from pave.patches.installed import installed_folder
from pave.patches.layout import FILES

# owner/name, both starting with a letter or digit, so that ./a and ../a are paths.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a name can only be a repository on the Hub: `owner/name`, and no path here.

    Example:
        >>> is_hub_id("llava-hf/llava-onevision-qwen2-7b-ov-hf"), is_hub_id("./llava")
        (True, False)
    """
    return _HUB_ID.fullmatch(name) is not None and not os.path.exists(name)


def locate(source: str | Path) -> Path:
    """The local folder of a patch.

    That is a path as it is, the folder of a patch that is installed by name
    (`pave.patches.installed`), or a Hub id that is downloaded or found in the cache.

    Only the files of a patch are fetched, never code.

    Raises:
        PatchError: If there is no such folder, or the Hub cannot be reached or has no such
            repository.
    """
    if not isinstance(source, str | Path):
        raise PatchError(f"a patch is a folder or a Hub id owner/name, got {type(source).__name__}")
    name = str(source)
    if not is_hub_id(name):
        # Names of arms and of base patches come as paths too.
        return installed_folder(name) or Path(source)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except LocalEntryNotFoundError as error:
        raise PatchError(
            f"'{name}' is no local folder and the Hub cannot be reached; check the path or the "
            "connection"
        ) from error
    except (OSError, HFValidationError) as error:
        # The Hub explains itself over many lines; the first one says what is wrong.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise PatchError(
            f"'{name}' is no local folder and cannot be fetched from the Hub: {lines[0]}"
        ) from error
