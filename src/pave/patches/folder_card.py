"""What a patch folder says of itself, changed later: its description, its scores and its card.

The weights stay as they are. The card follows from `patch.json` and `scores.json`; one that
somebody edited is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pave.errors import ConfigError, PatchError
from pave.files import write_text_atomically
from pave.patches.card import make_card
from pave.patches.config import PatchConfig, reason
from pave.patches.folder import check_folder, manifest_text, read_config
from pave.patches.layout import CARD, MANIFEST, in_hub_cache, inside
from pave.patches.scores import Evaluation, add_evaluation, read_scores, write_scores

logger = logging.getLogger(__name__)


def describe_folder(folder: Path, fields: Mapping[str, Any]) -> None:
    """Write words about a patch into its folder: licence, data sets, language.

    The weights stay as they are. Each file is replaced as a whole, `patch.json` first: what the
    card says follows from it.

    Args:
        folder: A patch folder.
        fields: Fields of `PatchConfig`; what is None or empty is left as it is.

    Raises:
        PatchError: If the folder is damaged or lies in a Hub cache, or a field is wrong.
    """
    config = check_folder(folder)
    given = {key: value for key, value in fields.items() if value}
    if not given:
        return
    _check_own(folder)
    try:
        new = PatchConfig.model_validate({**config.model_dump(), **given})
    except ValidationError as error:
        raise ConfigError(f"the description of the patch is not valid: {reason(error)}") from error
    card = fresh_card(folder, config=new)
    write_text_atomically(folder / MANIFEST, manifest_text(new))
    _replace_card(folder, card)


def record_evaluation(folder: Path, new: Evaluation) -> None:
    """Write an evaluation into a patch folder: `scores.json`, the Hub's files and the card.

    `patch.json` stays as it is, since an evaluation does not change what the patch is.

    Args:
        folder: A patch folder.
        new: The evaluation; it replaces an older one of the same questions.

    Raises:
        PatchError: If the folder is damaged, or lies in a Hub cache.
        PlaceError: If it cannot be written.
    """
    config = read_config(folder)
    _check_own(folder)
    scores = add_evaluation(read_scores(folder, config), new)
    card = fresh_card(folder, scores=scores)
    write_scores(folder, scores)
    _replace_card(folder, card)


def _check_own(folder: Path) -> None:
    """Refuse to change what the Hub's client keeps: others read it, and it is a commit's copy."""
    if in_hub_cache(folder):
        raise PatchError(
            f"{folder} is in the cache of the Hub's client, whose files must not be changed; "
            "copy the folder elsewhere"
        )


def _replace_card(folder: Path, card: str | None) -> None:
    """Write the new card, unless the one that is there is somebody's own work."""
    if card is None:
        logger.warning(
            "%s was edited, or written by another version of pave, so it is kept as it is; "
            "delete it to get a new one",
            folder / CARD,
        )
        return
    write_text_atomically(folder / CARD, card)


def fresh_card(
    folder: Path,
    *,
    config: PatchConfig | None = None,
    scores: Sequence[Evaluation] | None = None,
    source: str | None = None,
) -> str | None:
    """The card of a patch folder as it would be written now.

    Args:
        folder: A patch folder.
        config: Its config from now on; as it is when not given.
        scores: What was measured, from now on; as it is when not given.
        source: What its example loads; a path when not given.

    Returns:
        The card, or None where the one that is there is not what pave generates of the folder:
        somebody edited it, or another version of pave wrote it.
    """
    known = read_config(folder)
    measured = read_scores(folder, known)
    title = folder.resolve().name
    if (folder / CARD).exists():
        text = inside(folder, CARD).read_text(encoding="utf-8", errors="replace")
        # The folder may have been renamed since.
        headings = [line for line in text.splitlines() if line.startswith("# ")]
        if headings:
            title = headings[0].removeprefix("# ")
        if text != make_card(known, title, measured):
            return None
    if config is None:
        config = known
    if scores is None:
        scores = measured
    return make_card(config, title, scores, source)
