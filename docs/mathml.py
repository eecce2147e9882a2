"""Markdown extension for the site: `$...$` and `$$...$$` become MathML.

GitHub draws the same formulas from the same text. Browsers draw MathML without a script or a font
from elsewhere. A dollar sign that means money stands alone or has a space behind it.
"""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, fromstring

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

_DISPLAY = r"\$\$(?P<formula>[^$]+)\$\$"
# No space just inside the dollar signs, as GitHub has it.
_INLINE = r"(?<![\\$\w])\$(?P<formula>[^\s$](?:[^$\n]*[^\s$])?)\$(?!\w)"
# Before backslashes (180) and emphasis (60) are looked for, after code (190).
_PRIORITY = 185


class _Formula(InlineProcessor):
    """One kind of formula."""

    def __init__(self, pattern: str, md: Markdown, display: str) -> None:
        super().__init__(pattern, md)
        self.display = display

    def handleMatch(self, match: Any, data: str) -> tuple[Element, int, int]:  # type: ignore[override]  # noqa: N802
        """The formula as an element."""
        text = convert(match["formula"].strip(), display=self.display)
        # Python-Markdown writes XHTML names, not namespaces.
        element = fromstring(text.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', ""))
        return element, match.start(0), match.end(0)


class Formulas(Extension):
    """Both kinds."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Called by Python-Markdown."""
        block = _Formula(_DISPLAY, md, "block")
        md.inlinePatterns.register(block, "formula-block", _PRIORITY + 1)
        line = _Formula(_INLINE, md, "inline")
        md.inlinePatterns.register(line, "formula-inline", _PRIORITY)


def makeExtension(**settings: Any) -> Formulas:  # noqa: N802
    """Called by Python-Markdown."""
    return Formulas(**settings)
