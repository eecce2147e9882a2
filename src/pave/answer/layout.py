"""A talk as text: what the chat format and the user say, in turn.

A base's own chat template writes it (`pave.answer.written`). Where there is none, or patches were
trained in another format, there is only a `PromptStyle`, read off a question about one clip. How it
writes turns without a clip, several clips, or clips in a later turn follows from its parts: what
the beginning of the prompt and that of a later turn have in common opens a turn, and what stands
behind that in a turn of text alone stands behind the clip in others.
"""

from __future__ import annotations

from collections.abc import Sequence

from pave.answer.written import Piece, Shown, SpokenTurn, no_system, written_parts
from pave.bases import Base
from pave.bases.prompt import ChatFormat, PromptStyle


def parts_of(
    base: Base,
    turns: Sequence[SpokenTurn],
    chat: ChatFormat | None = None,
    system: str | None = None,
) -> list[str]:
    """What the chat format and people say, in turn; the format begins and ends.

    Args:
        base: The base.
        turns: Every one with a text; the last without an answer.
        chat: The chat format; the base's when not given.
        system: The system message, if there is one.

    Raises:
        BaseError: If the base's template cannot write the talk.
        ConfigError: If the chat format has no place for a system message.
    """
    chat = chat or base.chat
    if chat.template:
        return written_parts(base, turns, chat, system)
    if system is not None:
        # What stands in `head` was read off a talk without one, or is the family's own.
        raise no_system("is not read from a chat template")
    style = chat.style
    parts = [style.head]
    for pieces, answer in turns:
        _put(base, style, parts, _in_order(base, pieces))
        if answer is None:
            parts[-1] += style.ask
            continue
        parts[-1] += style.past_ask or style.ask + style.answer
        # The next turn is opened, too.
        parts += [answer, style.past_end or chat.end + style.again]
    return parts


def _put(
    base: Base,
    style: PromptStyle,
    parts: list[str],
    pieces: Sequence[Piece],
) -> None:
    """Add one user's turn to the parts, from its opening to where an answer is asked for."""
    alone = text_opening(style)
    before_clip = clip_opening(style)
    # Where a text brings its own opening along, nothing else stands behind media.
    behind = style.after_video
    if alone:
        behind = ""
    _open(style, parts, isinstance(pieces[0], str))
    before: Piece | None = None
    for piece in pieces:
        if isinstance(piece, Shown):
            if isinstance(before, Shown):
                parts[-1] += behind
            if before is not None:  # the turn's opening ends with it
                parts[-1] += before_clip
            parts[-1] += piece.text
        else:
            parts[-1] += _lead(base, style, before)
            parts += [piece, ""]  # what follows is the format's again
        before = piece
    if isinstance(before, Shown):
        parts[-1] += behind


def _open(style: PromptStyle, parts: list[str], by_text: bool) -> None:
    """Open a turn: the parts so far end as a first turn does for a clip, a later one for a text.

    Args:
        style: The chat format.
        parts: What was said so far; its end is changed.
        by_text: Whether the turn begins with a text, not with a clip or a picture.
    """
    alone, before_clip = text_opening(style), clip_opening(style)
    first = len(parts) == 1
    if by_text:
        # The turn before has ended as if a text of one piece came.
        parts[-1] = parts[-1].removesuffix(style.question)
        if first:  # `head` is that of a question about a clip
            parts[-1] = parts[-1].removesuffix(before_clip) + alone
    elif not first:
        parts[-1] = (parts[-1] + style.question).removesuffix(alone) + before_clip


def _lead(base: Base, style: PromptStyle, before: Piece | None) -> str:
    """What stands between a text of a turn and what was before it in the turn."""
    if isinstance(before, str):
        return text_opening(style) or base.family.between_texts
    if before is None:
        return style.question
    return style.after_video + style.question


def text_opening(style: PromptStyle) -> str:
    r"""What a turn of text alone has behind its opening, where others have their clip.

    Example:
        >>> style = PromptStyle("<s>user ", "\n", "</s><s>assistant\n", "</s>", "<s>user \n")
        >>> text_opening(style)
        '\n'
    """
    later = (style.past_end or style.again) + style.question
    for start in range(len(style.head)):
        common = style.head[start:]
        # A line break alone is no opening.
        if common.strip() and common in later:
            return later.rpartition(common)[2]
    return ""


def clip_opening(style: PromptStyle) -> str:
    r"""What stands between the opening of a turn and its clip, which a text alone does not have.

    Example:
        >>> style = PromptStyle("<s>user\n\n\n", "\n\n", "</s><s>assistant\n", "</s>", "<s>user\n")
        >>> clip_opening(style)
        '\n\n'
    """
    opening = style.again.lstrip()
    if not opening or opening not in style.head:
        return ""
    return style.head.rpartition(opening)[2]


def _in_order(base: Base, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces as the format puts them: some put pictures first, then clips, then texts."""
    if not base.family.media_first:
        return list(pieces)

    def rank(piece: Piece) -> int:
        if isinstance(piece, str):
            return 2
        return int(not piece.picture)

    return sorted(pieces, key=rank)
