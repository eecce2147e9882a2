"""Where a patch comes from: a local folder, or a repository on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from pave.errors import PatchError
from pave.patches.folder import CARD, FUSION, LORA, LORA_CONFIG, MANIFEST

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate(source: str | Path) -> Path:
    """The local folder of a patch; a Hub id `owner/name` that is no local path is downloaded (or taken from the cache).

    Only the files of a patch are fetched, never code.

    Raises:
        PatchError: If there is no such folder, or the Hub cannot be reached or has no such
            repository.
    """
    folder = Path(source)
    if folder.exists() or not _HUB_ID.fullmatch(str(source)):
        return folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                str(source), allow_patterns=[MANIFEST, CARD, FUSION, LORA, LORA_CONFIG]
            )
        )
    except LocalEntryNotFoundError as error:
        raise PatchError(
            f"'{source}' is no local folder and the Hub cannot be reached; check the path or the "
            "connection"
        ) from error
    except (OSError, HFValidationError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PatchError(
            f"'{source}' is no local folder and cannot be fetched from the Hub: {line}"
        ) from error
