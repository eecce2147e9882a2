r"""The chat format of a checkpoint, read off its own chat template.

A model type says little about the format: LLaVA-NeXT-Video comes with Vicuna's, Mistral's and Yi's.
What a checkpoint was trained with is in its chat template, a program in Jinja. transformers renders
it, sandboxed, with three talks whose words nobody else would write:

    asked   <|im_start|>user\n<video>Qone<|im_end|>\n<|im_start|>assistant\n
    told    <|im_start|>user\n<video>Qone<|im_end|>\n<|im_start|>assistant\nAone<|im_end|>\n ...
    closed  ... <|im_start|>assistant\nAone<|im_end|>\n

What stands around those words is a `PromptStyle`. Where a template is missing, or writes something
that such a style has no place for, the family's own style serves.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pave import hf_compat
from pave.bases.family import Family
from pave.bases.hub import access
from pave.bases.prompt import MOST, PromptStyle, Strips
from pave.bases.source import first_line, read_json, reading
from pave.errors import BaseError
from pave.files import regular_file

logger = logging.getLogger(__name__)

QUESTION, ANSWER, SECOND, SYSTEM = "Qone", "Aone", "Qtwo", "Sone"
LONGEST = 2**20
"""Most characters of a template; published ones have less than a hundredth of that."""


class UnclearError(Exception):
    """What a template does that `PromptStyle` has no words for."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template that has been read; without a text and a style where there is none.

    Attributes:
        text: In Jinja.
        style: What it writes around turns.
        trouble: Why a template that is there is not used, and where it is; "" where it is used.
    """

    text: str = ""
    style: PromptStyle | None = None
    trouble: str = ""


def template_of(source: str, tokenizer: Any, family: Family) -> ChatTemplate:
    """A folder's own template; an empty one where the family's style serves.

    The places are those of transformers' processors, in their order, then the tokenizer's own.

    Args:
        source: Folder or Hub id.
        tokenizer: Its tokenizer.
        family: Its family.

    Raises:
        BaseError: If a file is damaged.

    Example:
        >>> name = "llava-hf/LLaVA-NeXT-Video-34B-hf"
        >>> template_of(name, tokenizer, family).style.end  # doctest: +SKIP
        '<|im_end|>'
    """
    if family.template:
        return _family_template(tokenizer, family)
    # A processor's own key wins over the older file, and that over the newer one.
    for name in ("processor_config.json", "chat_template.json"):
        what = f"{source}: the chat template of {name}"
        found = _one(read_json(source, name).get("chat_template"), what)
        if found is not None:
            return _read(found, tokenizer, family, what)
    name = "chat_template.jinja"
    with reading(source, f"{name} cannot be read"):
        path = hf_compat.find_file(source, name, **access(source))
        if path is not None:
            regular_file(path, BaseError)
            found = Path(path).read_text(encoding="utf-8")
            return _read(found, tokenizer, family, f"{source}: {name}")
    return tokenizers_template(tokenizer, family, source)


def tokenizers_template(tokenizer: Any, family: Family, name: str) -> ChatTemplate:
    """As `template_of`, of the tokenizer's own template alone.

    Args:
        tokenizer: The base's.
        family: Its family.
        name: What to call the base in messages.
    """
    if family.template:
        return _family_template(tokenizer, family)
    what = f"{name}: the tokenizer's chat template"
    found = _one(getattr(tokenizer, "chat_template", None), what)
    if found is None:
        return ChatTemplate()
    return _read(found, tokenizer, family, what)


def _family_template(tokenizer: Any, family: Family) -> ChatTemplate:
    """The template that a family's processor uses, whatever a folder has."""
    return _read(family.template, tokenizer, family, f"the chat template of {family.name}")


def _one(found: Any, what: str) -> str | None:
    """The template itself; where a file has several by name, the default one."""
    if isinstance(found, list):  # as tokenizer_config.json writes several
        named = [entry for entry in found if isinstance(entry, dict)]
        found = {entry.get("name"): entry.get("template") for entry in named}
    if isinstance(found, dict):
        if "default" not in found:
            names = ", ".join(sorted(map(str, found)))
            logger.warning(
                "%s has no template called default, only %s, which are ignored", what, names
            )
        found = found.get("default")
    if not isinstance(found, str):
        return None
    return found


def _read(text: str, tokenizer: Any, family: Family, what: str) -> ChatTemplate:
    """The template with its style, and a line in the log if that is not the family's."""
    try:
        style = read_style(text, tokenizer, family)
    except UnclearError as error:
        logger.warning("%s %s, so the built-in format of %s is used", what, error, family.name)
        return ChatTemplate(trouble=f"{what} {error}")
    if "strftime_now" in text:
        logger.warning(
            "%s writes today's date or time into prompts; pave uses the time of loading for all "
            "prompts",
            what,
        )
    if style != family.style:
        differ = []
        for name, written in vars(style).items():
            if written != getattr(family.style, name):
                differ.append(f"{name} {written!r}")
        logger.info(
            "%s differs from the built-in format of %s; the template is used: %s",
            what,
            family.name,
            ", ".join(differ),
        )
    return ChatTemplate(text, style)


def read_style(template: str, tokenizer: Any, family: Family) -> PromptStyle:
    """The text around turns that a chat template writes.

    Args:
        template: In Jinja.
        tokenizer: The base's; its special tokens are variables of the template.
        family: The base's; `Family.video_text` says what stands for a video.

    Raises:
        UnclearError: If it cannot be rendered, or does not write a video, its question and an
            answer once each and in this order.
    """
    if len(template) > LONGEST:
        raise UnclearError(f"has {len(template):,} characters, more than any template has")
    video = family.video_text or family.placeholder
    probe = _Probe(template, tokenizer)
    # As generation asks, as a talk goes on, and as a talk stands when it is over.
    asked = probe.render([QUESTION], True)
    head, after_video, ask = _between(asked, (video, QUESTION))
    told = probe.render([QUESTION, ANSWER, SECOND], True)
    *same, past_ask, past_end, last_ask = _between(told, (video, QUESTION, ANSWER, SECOND))
    if same != [head, after_video] or last_ask != ask:
        raise UnclearError("writes a turn differently when there are several")
    closed = probe.render([QUESTION, ANSWER], False)
    *same, learnt_ask, closing = _between(closed, (video, QUESTION, ANSWER))
    if same != [head, after_video]:
        raise UnclearError("writes a question differently when it has an answer")
    # What a template puts before an answer that is there, beyond what asks for one: a space, or
    # the end of a thought. The model has to write that, so it is a part of the answer.
    answer = ""
    if learnt_ask.startswith(ask):
        answer = learnt_ask.removeprefix(ask)
    end, again = _end(tokenizer, closing, past_end)
    # Said only where history reads otherwise than what was asked and answered.
    if past_ask == ask + answer:
        past_ask = ""
    if past_end == end + again:
        past_end = ""
    style = PromptStyle(
        head=head,
        after_video=after_video,
        ask=ask,
        end=end,
        again=again,
        answer=answer,
        past_ask=past_ask,
        past_end=past_end,
        strips=_strips(probe),
    )
    if max(map(len, style.texts)) > MOST:  # a patch could not keep it
        raise UnclearError(f"writes more than {MOST:,} characters around a turn")
    return style


@dataclass(frozen=True)
class _Probe:
    template: str
    tokenizer: Any

    def render(self, words: list[str], ask: bool) -> str:
        """A talk about one video: question, answer, question, ..."""
        talk: list[dict[str, Any]] = []
        for role, word in zip(("user", "assistant", "user"), words, strict=False):
            talk.append({"role": role, "content": as_parts(word)})
        talk[0]["content"].insert(0, {"type": "video"})  # before its question, as trained
        return render(self.template, self.tokenizer, talk, ask)


def render(template: str, tokenizer: Any, talk: list[dict[str, Any]], ask: bool = True) -> str:
    """A talk as a chat template writes it.

    Args:
        template: In Jinja.
        tokenizer: The base's; its special tokens are variables of the template.
        talk: Messages whose contents are lists of parts.
        ask: Whether an answer is asked for at the end.

    Raises:
        UnclearError: If the template raises anything.
    """
    text = _rendered(template, tokenizer, talk, ask)
    # A template may take answers for texts and write the list out as Python does (GLM-4.1V's).
    if "'type': 'text'" in text:
        plain = []
        for turn in talk:
            content = turn["content"]
            if turn["role"] == "assistant" and not isinstance(content, str):
                content = content[0]["text"]
            plain.append({**turn, "content": content})
        text = _rendered(template, tokenizer, plain, ask)
    return text


def as_parts(text: str) -> list[dict[str, str]]:
    """A message's content as a list with one text."""
    return [{"type": "text", "text": text}]


def system_form(template: str, tokenizer: Any) -> Callable[[str], Any] | None:
    """The form in which a template takes the text of a system message.

    Args:
        template: In Jinja.
        tokenizer: The base's.

    Returns:
        `as_parts`, which most templates for several kinds of media want; `str` for those that join
        a system message to other text; None for those without a place for one, which raise an
        error, leave it out, or write it as if somebody else had said it.

    Example:
        >>> system_form("{{ messages[0]['role'] }}", tokenizer) is None  # doctest: +SKIP
        True
    """
    for form in (as_parts, str):
        written = _opened_by(template, tokenizer, "system", form)
        if SYSTEM not in written or "'type'" in written:
            continue
        # Where a template asks for one role alone, all others are written as the other one.
        others = (_opened_by(template, tokenizer, role, form) for role in ("user", "assistant"))
        if written not in others:
            return form
    return None


def _opened_by(template: str, tokenizer: Any, role: str, form: Callable[[str], Any]) -> str:
    """A talk that a message of this role begins; empty where the template refuses it."""
    asked = {"role": "user", "content": as_parts(QUESTION)}
    try:
        return render(template, tokenizer, [{"role": role, "content": form(SYSTEM)}, asked])
    except UnclearError:
        return ""


def _rendered(template: str, tokenizer: Any, talk: list[dict[str, Any]], ask: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            talk, chat_template=template, tokenize=False, add_generation_prompt=ask
        )
    except Exception as error:  # a program of somebody else's: it may raise anything
        raise UnclearError(f"cannot be rendered ({first_line(error)})") from error
    return str(text)


def _strips(probe: _Probe) -> Strips:
    """What a template takes outer white space off."""
    lead, trail = "\t ", " \t"  # no template writes these by itself
    spaced = [lead + word + trail for word in (QUESTION, ANSWER, SECOND)]
    text = probe.render(spaced, True)
    found: Strips = ()
    if lead + QUESTION not in text:
        found += ("text",)
    elif QUESTION + trail not in text:  # the clip stands at the beginning of the turn
        found += ("turn",)
    if ANSWER + trail not in text:
        found += ("answer",)
    return found


def _between(text: str, marks: tuple[str, ...]) -> list[str]:
    """What stands before, between and behind marks, each of which must be there once."""
    parts = []
    place = 0
    for mark in marks:
        found = text.find(mark, place)
        if found < 0 or text.count(mark) > 1:
            raise UnclearError(
                f"writes {mark!r} {text.count(mark)} times or in another place, where a "
                "conversation about a video has it once"
            )
        parts.append(text[place:found])
        place = found + len(mark)
    return [*parts, text[place:]]


def _end(tokenizer: Any, closing: str, past_end: str) -> tuple[str, str]:
    """The token that ends an answer, and what opens the next turn behind it.

    Args:
        tokenizer: The base's.
        closing: Behind the last answer of a talk.
        past_end: Between an answer and the next question.
    """
    # The longest first, as one token may begin as another one does.
    tokens = sorted(map(str, tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
    # The token that closes an answer, or the one that opens the turn behind it (GLM's).
    for said in (closing.lstrip(), past_end.lstrip()):
        for token in tokens:
            if token.strip() and said.startswith(token):
                return token, past_end.lstrip().removeprefix(token)
    # A template without a token there (Vicuna's) leaves it to the model to say when it is done.
    if tokenizer.eos_token is None:
        raise UnclearError("ends an answer without a token, and the tokenizer has none of its own")
    return str(tokenizer.eos_token), past_end.removeprefix(closing)
