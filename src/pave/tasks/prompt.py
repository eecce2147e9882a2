"""Prompts: how a task puts a question.

A prompt is versioned by a hash that every record and every result carries. Scores move with the
prompt (ScanQA's CIDEr by 4 points with one sentence more), so two results are only comparable where
their prompts are the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase


@dataclass(frozen=True)
class Prompt:
    r"""A template of what the model reads after the video.

    Attributes:
        text: The template, with {question}, and {options} where options are listed.
        option: One option, with {letter} and {text}.
        between: What stands between options.

    Example:
        >>> prompt = Prompt("{question}\n{options}", "{letter}. {text}", "\n")
        >>> prompt.render("Which?", ["cat", "dog"])
        'Which?\nA. cat\nB. dog'
    """

    text: str = "{question}"
    option: str = ""
    between: str = ""

    def render(self, question: str, options: Sequence[str] = ()) -> str:
        """The prompt of one question."""
        lines = []
        for letter, text in zip(ascii_uppercase, options, strict=False):
            # The letter first: an option's text may hold anything, "{letter}" too.
            lines.append(self.option.replace("{letter}", letter).replace("{text}", text))
        # Likewise the template is cut at the question before anything is put in.
        head, _, tail = self.text.partition("{question}")
        return head + question + tail.replace("{options}", self.between.join(lines))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that change with any character of the template."""
        # A zero byte parts the pieces: no template holds one, so none can be moved between them.
        whole = "\0".join((self.text, self.option, self.between))
        return hashlib.sha256(whole.encode()).hexdigest()[:12]
