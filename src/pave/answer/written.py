"""Talks as the base's own chat template writes them.

The template gets the talk itself, so that whatever it does to texts, their white space and earlier
thinking is done. Two things must not be mistaken in what comes back: placeholders and control
tokens that somebody spelt are letters, and those of the template are not. So the former are put
between two characters that the talk does not hold, and told by them afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pave.answer.thinking import MARK
from pave.bases import Base
from pave.bases.letters import any_of, open_ends
from pave.bases.pictures import picture_mark
from pave.bases.prompt import ChatFormat
from pave.bases.template import UnclearError, render, system_form
from pave.errors import BaseError, ConfigError
from pave.texts import counted

_PRIVATE = frozenset(map(chr, range(0xE000, 0xF8FF)))  # they mean nothing by themselves


@dataclass(frozen=True)
class Shown:
    """What stands in a prompt for a clip or a picture.

    Attributes:
        text: Placeholders, and what is written around them.
        picture: Whether it is a picture.
    """

    text: str
    picture: bool = False

    @property
    def kind(self) -> str:
        """What transformers calls it in messages."""
        return ("video", "image")[self.picture]


Piece: TypeAlias = str | Shown
SpokenTurn: TypeAlias = tuple[Sequence[Piece], str | None]
"""What a user says and shows, and the answer; None where it is to be generated."""


def written_parts(
    base: Base, turns: Sequence[SpokenTurn], chat: ChatFormat, system: str | None = None
) -> list[str]:
    """What the chat format and people say, in turn; the format begins and ends.

    People's parts are only what must stay letters; the rest of what they say is in the format's.

    Args:
        base: The base.
        turns: The talk; the last turn has no answer.
        chat: A chat format with a template.
        system: The system message, if there is one.

    Raises:
        BaseError: If the template raises an error, or leaves a clip or a picture out.
        ConfigError: If it has no place for a system message.
    """
    shown = _shown(turns)
    said = list(_said(turns))
    said.append(system or "")
    marks = _Marks.of(base, said, shown, chat)
    talk = marks.messages(turns)
    if system is not None:
        talk.insert(0, marks.system(system, chat.template))
    try:
        text = render(chat.template, base.tokenizer, talk)
    except UnclearError as error:
        raise BaseError(f"{base.name}: for this conversation, its chat template {error}") from error
    return marks.cut(base.opened(text), shown)


def no_system(why: str) -> ConfigError:
    """The refusal of a system message.

    Args:
        why: What the base's chat format does not do.
    """
    # Clients of a server read it too, so it names no folder.
    return ConfigError(
        f"the base's chat format {why}, so a system message cannot be written; put the text at the "
        "beginning of the user's first message"
    )


def _shown(turns: Sequence[SpokenTurn]) -> list[Shown]:
    """Clips and pictures in the order in which they are shown."""
    found: list[Shown] = []
    for pieces, _ in turns:
        found += [piece for piece in pieces if isinstance(piece, Shown)]
    return found


@dataclass(frozen=True)
class _Marks:
    """What is looked for in a written talk.

    Attributes:
        base: The base.
        words: What people must not spell as a token, and placeholders.
        control: A pattern of it.
        written: Patterns of what the template writes for clips and pictures, by their kind.
        opened: Begins what somebody spelt.
        closed: Ends it.
    """

    base: Base
    words: frozenset[str]
    control: re.Pattern[str]
    written: Mapping[str, str]
    opened: str
    closed: str

    @classmethod
    def of(
        cls, base: Base, said: Sequence[str], shown: Sequence[Shown], chat: ChatFormat
    ) -> _Marks:
        video = base.family.video_text or base.family.placeholder
        words = {*chat.words, video}
        written = {"video": re.escape(video)}
        for one in shown:
            if one.picture:
                written["image"] = _picture(base, one.text)
                words.add(picture_mark(base))
        # Two characters that nobody uses, so that nobody can write them.
        used = set("".join(said))
        opened, closed = sorted(_PRIVATE - used)[:2]
        return cls(base, frozenset(words), any_of(words), written, opened, closed)

    def system(self, said: str, template: str) -> dict[str, Any]:
        """The system message as transformers takes it.

        Raises:
            ConfigError: If the template has no place for one.
        """
        form = system_form(template, self.base.tokenizer)
        if form is None:
            raise no_system("has no place for one")
        return {"role": "system", "content": form(self.control.sub(self._enclose, said))}

    def messages(self, turns: Sequence[SpokenTurn]) -> list[dict[str, Any]]:
        """The talk as transformers takes it."""
        talk: list[dict[str, Any]] = []
        for pieces, answer in turns:
            content = []
            for piece in pieces:
                if isinstance(piece, Shown):
                    content.append({"type": piece.kind})
                else:
                    text = self._letters(piece, joined=sum(map(_is_text, pieces)) > 1)
                    content.append({"type": "text", "text": text})
            talk.append({"role": "user", "content": content})
            # None stands for the answer that is asked for.
            if answer is not None:
                text = self.control.sub(self._enclose_unless_thinking, answer)
                said = [{"type": "text", "text": text}]
                talk.append({"role": "assistant", "content": said})
        return talk

    def _letters(self, text: str, joined: bool) -> str:
        """A user's text with what must stay letters between the two characters.

        Args:
            text: The text.
            joined: Whether the template may put another text of the turn right beside it, so that
                both spell a token together.
        """
        if not joined:
            return self.control.sub(self._enclose, text)
        # White space outside stays outside, for templates that take it off.
        body = text.strip()
        before, _, after = text.partition(body)
        first, last = open_ends(self.words, body)
        if first + last >= len(body):
            return before + self._between(body) + after
        middle = self.control.sub(self._enclose, body[first : len(body) - last])
        begin, end = body[:first], body[len(body) - last :]
        return before + self._between(begin) + middle + self._between(end) + after

    def _between(self, text: str) -> str:
        return text and self.opened + text + self.closed

    def _enclose(self, found: re.Match[str]) -> str:
        return self._between(found.group())

    def _enclose_unless_thinking(self, found: re.Match[str]) -> str:
        """Templates look for the marks of thinking in answers, which the model itself wrote."""
        if MARK.fullmatch(found.group()):
            return found.group()
        return self._enclose(found)

    def cut(self, text: str, shown: Sequence[Shown]) -> list[str]:
        """The written talk in parts, clips and pictures in their places."""
        left = list(shown)
        # What somebody spelt comes first: within it, nothing is a place.
        kinds = [f"{self.opened}(?P<spelt>.*?){self.closed}"]
        for kind, pattern in self.written.items():
            kinds.append(f"(?P<{kind}>{pattern})")
        parts = [""]
        place = 0
        for found in re.finditer("|".join(kinds), text, re.DOTALL):
            parts[-1] += text[place : found.start()]
            place = found.end()
            kind = str(found.lastgroup)
            if kind == "spelt":
                parts += [found[kind], ""]
            else:
                parts[-1] += self._take(left, kind).text
        parts[-1] += text[place:]
        if left:
            raise BaseError(
                f"{self.base.name}: its chat template leaves out {len(left)} of the "
                f"{counted(len(shown), 'clip or picture', 'clips and pictures')} of this "
                "conversation"
            )
        # A template may have split a text between the two characters; one alone means nothing.
        alone = str.maketrans("", "", self.opened + self.closed)
        return [part.translate(alone) for part in parts]

    def _take(self, left: list[Shown], kind: str) -> Shown:
        """Take the next one of a kind out of those that are left."""
        kinds = [one.kind for one in left]
        if kind not in kinds:
            raise BaseError(f"{self.base.name}: its chat template adds one {kind} too many")
        # Most models find clips by one token and pictures by another, each in their order. Where
        # both are one list (InternVL), a template that reorders them would exchange them.
        if kinds[0] != kind and self.base.family.modality == "image":
            raise BaseError(
                f"{self.base.name}: its chat template puts every {kind} first; show them first"
            )
        return left.pop(kinds.index(kind))


def _is_text(piece: Piece) -> bool:
    return isinstance(piece, str)


def _said(turns: Sequence[SpokenTurn]) -> Iterator[str]:
    """All that people say."""
    for pieces, answer in turns:
        for piece in pieces:
            if isinstance(piece, str):
                yield piece
        yield answer or ""


def _picture(base: Base, text: str) -> str:
    """A pattern of what the template writes for a picture.

    Args:
        base: The base.
        text: What stands for the picture in the prompt: tokens and what is around them, which
            templates write themselves (Qwen) or leave to the processor (InternVL).
    """
    token = picture_mark(base)
    opened = text.partition(token)[0]
    closed = text.rpartition(token)[2]
    if token not in text:  # the template's mark is none of a prompt's tokens
        opened = closed = ""
    return f"(?:{re.escape(opened)})?{re.escape(token)}(?:{re.escape(closed)})?"
