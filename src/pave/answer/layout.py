"""A talk as text: what the chat format and the user say, in turn.

A base's own chat template writes it (`pave.answer.written`). Where there is none, or patches were
trained in another format, there is only a `PromptStyle`, read off a question about one clip. How it
writes turns without a clip, several clips, or clips in a later turn follows from its parts: what
the beginning of the prompt and that of a later turn have in common opens a turn, and what stands
behind that in a turn of text alone stands behind the clip in others.
"""

from __future__ import annotations

from collections.abc import Sequence

from pave.answer.written import Piece, Shown, SpokenTurn, written_parts
from pave.bases import Base
from pave.bases.prompt import ChatFormat, PromptStyle


def parts_of(base: Base, turns: Sequence[SpokenTurn], chat: ChatFormat | None = None) -> list[str]:
    """What the chat format and people say, in turn; the format begins and ends.

    Args:
        base: The base.
        turns: Every one with a text; the last without an answer.
        chat: The chat format; the base's when not given.

    Raises:
        BaseError: If the base's template cannot write the talk.
    """
    chat = chat or base.chat
    if chat.template:
        return written_parts(base, turns, chat)
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


def _put(base: Base, style: PromptStyle, parts: list[str], pieces: Sequence[Piece]) -> None:
    """Add one user's turn to the parts, from its opening to where an answer is asked for."""
    alone = text_opening(style)
    before_clip = clip_opening(style)
    # Where the text brings its own opening along, nothing else stands between media.
    between = "" if alone else style.after_video
    between += before_clip
    later = len(parts) > 1
    # A later turn is opened as for a text alone, the first one as for a clip.
    if isinstance(pieces[0], str):
        parts[-1] = parts[-1].removesuffix(style.question)
        if not later:
            parts[-1] = parts[-1].removesuffix(before_clip) + alone
    elif later:
        parts[-1] = (parts[-1] + style.question).removesuffix(alone) + before_clip
    if isinstance(pieces[0], Shown) and pieces[0].picture and base.family.tight_pictures:
        parts[-1] = parts[-1].rstrip(" ")
    before: Piece | None = None
    for piece in pieces:
        if isinstance(piece, str):
            lead = alone or base.family.between_texts
            if not isinstance(before, str):
                lead = style.after_video if before else ""
                lead += style.question
            parts[-1] += lead
            parts += [piece, ""]
        else:
            if isinstance(before, Shown):
                parts[-1] += between
            elif before is not None:
                parts[-1] += before_clip
            parts[-1] += piece.text
        before = piece
    if isinstance(before, Shown):
        parts[-1] += between.removesuffix(before_clip)


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
