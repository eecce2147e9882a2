"""Whether prompts are within a base's context, looked at before hours of work."""

from __future__ import annotations

from collections.abc import Sequence

from pave.bases.base import Base
from pave.bases.visual import Clip
from pave.data.records import Record
from pave.errors import ConfigError, RecordError


def must_fit(
    base: Base, clip: Clip, record: Record, turns: Sequence[tuple[str, str | None]]
) -> None:
    """Refuse a record whose clip and dialogue are longer than the base's context.

    Most records are far below it, which their letters tell: only those near it are tokenised.

    Args:
        base: The base.
        clip: The record's clip; its text is read.
        record: For its name.
        turns: `(question, answer)` pairs as they are put; an open answer is None.

    Raises:
        RecordError: If it is longer.
    """
    placeholder = base.family.placeholder
    places = clip.text.count(placeholder)
    # More than is written around a turn, which does no harm.
    around = "".join(base.style.texts) + base.chat.end
    texts = [clip.text.replace(placeholder, ""), around]
    for question, answer in turns:
        texts += [question, answer or "", around]
    # A token is a byte at least; one more for a token that opens the text (BOS).
    most = places + 1 + len("".join(texts).encode())
    if most <= base.context:
        return
    try:
        prompt = base.encode_prompt(clip.text, turns)
        tokens = len(prompt.dialogue())
        if tokens > base.context:
            raise base.too_long(tokens, places)
    except ConfigError as error:
        raise RecordError(f"record {record.id}: {error}") from error
