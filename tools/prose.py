"""Checks how pages and messages are written: spelling, style, the project's words, and length.

    python tools/prose.py             # every complaint, one a line; exit code 1 if there is any
    python tools/prose.py --grades    # the reading grade of every page

Spelling is codespell's, style is proselint's, and both see the prose alone: code, links' targets
and generated regions are blanked first. What proselint cannot know stands here: words of the
project that have one spelling (`WORDS`), phrases that a reader stumbles over, the longest sentence
and line, and a Flesch-Kincaid grade that no page may exceed.

The messages of the program (errors, log lines, help texts) follow the same rules, without those for
lines and grades. Every string of `src` that has at least four words is taken for one, and so is the
docstring of a verb, which the command line prints as help.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from proselint.checks import __register__
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT = Path(__file__).parents[1]
LONGEST_LINE = 160
LONGEST_SENTENCE = 45
"""In words; a longer one is two sentences."""
HIGHEST_GRADE = 10.0
"""Years of school that a page may take, by Flesch and Kincaid."""

NOT_PROSE = re.compile(
    r"^(`{3,}).*?^\1\s*$"  # blocks of code
    r"|<!-- ([\w:-]+):start -->.*?<!-- \2:end -->"  # what a command writes
    r"|<!-- table: .*?<!-- end of the table -->"
    r"|<!--.*?-->"
    r"|^::: .*?$"
    r"|^!!! \w+",
    re.MULTILINE | re.DOTALL,
)
CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)\s]*\)")
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=\S)")

# Checks of proselint that a technical page breaks with reason: straight quotes, `x` between sizes.
# A key for a part of a check comes before the key of the whole, as proselint reads them.
CHECKS = {
    "typography.symbols": False,
    "typography.diacritical_marks": False,  # "resume" is a verb here
    "misc.phrasal_adjectives.ly": False,  # "multiply-add" is no adverb
    **DEFAULT["checks"],
    "dates_times": False,  # "from 1.18 to 1.05" is no date
}

COUNTED = r"(?:[Oo]ne|features|entry|entries|nats|seconds|\d+ (?:tokens|steps|words))"
WORDS = {
    r"[Hh]ugging[Ff]ace\b|\bHuggingface\b": "Hugging Face",
    r"\bPytorch\b": "PyTorch",
    r"\bGithub\b": "GitHub",
    r"\b(?:LORA|Lora)\b": "LoRA",
    r"\bffmpeg\b": "FFmpeg",
    r"\b[Ff]inetun\w+(?![\w-])": "fine-tun...",
    r"\b[Tt]oken ?[Ss]tore\b": "token cache",
    r"\b[Vv]ideo-?LLMs?\b": "Video LLM",
    r"\b[Dd]atasets?\b": "data set",
    r"\be\. ?g\.|\bi\. ?e\.": "for example, that is",
    r"\bin the place of\b": "in place of",
    r"\bfor want of\b": "because there is no",
    r"\banew\b": "again",
    r"\bat hand\b": "here, or the current one",
    r"\b(?:is|are) told of\b": "is reported",
    r"\b(?:could|can|cannot) (?:not )?be had\b": "is (not) available",
    r"\bhouse-?keeping\b": "maintenance",
    r"\bso many\b": "this many, or that number of",
    r"\ba (?:question|clip|frame|record|channel|line|step|process|arm|file) a (?=\w)": "per",
    rf"\b{COUNTED} a (?=(?:clip|frame|step|token|question|sample|video|answer|record)\b)": "per",
    r"(?<!\b[Tt]here )\b(?:is|are) no (?!longer|worse|better|proof|different|other|help|use\b)": (
        "is not a, or has no"
    ),
    r"\btold (?:of|apart)\b(?<!be told apart)(?<!been told apart)": "reported, or distinguished",
    r"\bgive (?:it|them) anew\b|\bnot one (?:frame|sample)\b": "no ...",
    r"\bpassed over\b": "ignored",
    r"\bof another (?:shape|kind|size|type)\b": "with another ...",
}
"""What is not written -> what is."""


LOG = ROOT / "docs" / "decisions.md"
"""The maintainers' log, whose old entries stay as they are; only its spelling is checked."""


def pages() -> list[Path]:
    """Every page that users read."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*top, *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page != LOG)]


def prose(text: str) -> str:
    """A page with everything blanked that is no prose; its lines keep their numbers.

    Args:
        text: The Markdown.
    """
    text = NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), text)
    text = re.sub(r"^(#+ .*)$", r"\1.", text, flags=re.MULTILINE)
    # Numbered, because "code code" would be a word that is written twice.
    number = count()
    text = CODE.sub(lambda found: f"code{next(number)}" + "\n" * found[0].count("\n"), text)
    text = re.sub(r"\b\d+( x \d+)+\b", "size", text)
    return LINK.sub(lambda found: found[1], text)


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """(line number, text) of every paragraph or list item; tables and headings are left out.

    Args:
        text: As `prose` gives it.
    """
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        line = line.strip()
        begins = re.match(r"([-*]|\d+\.) ", line)
        if (not line or begins or line.startswith(("|", "#"))) and lines:
            yield start, " ".join(lines)
            lines = []
        if not line or line.startswith(("|", "#")):
            continue
        if not lines:
            start = number
        lines.append(line[begins.end() :] if begins else line)


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph.

    Args:
        paragraph: Its text.
    """
    return SENTENCE_END.split(paragraph)


def syllables(word: str) -> int:
    """About how many syllables a word has: its groups of vowels, without a silent e.

    Args:
        word: An English word.
    """
    groups = re.findall(r"[aeiouy]+", word.lower().removesuffix("e"))
    return max(1, len(groups))


def grade(text: str) -> float:
    """The Flesch-Kincaid grade: 0.39 words a sentence + 11.8 syllables a word - 15.59.

    Args:
        text: As `prose` gives it.
    """
    number, words = 0, list[str]()
    for _, paragraph in paragraphs(text):
        for sentence in sentences(paragraph):
            found = re.findall(r"[A-Za-z][A-Za-z'-]*", sentence)
            number += bool(found)
            words += found
    if not words:
        return 0.0
    spoken = sum(syllables(word) for word in words)
    return 0.39 * len(words) / number + 11.8 * spoken / len(words) - 15.59


def complaints(page: Path) -> list[str]:
    """What is wrong with a page, one line each.

    Args:
        page: Its path.
    """
    source = page.read_text("utf-8")
    text = prose(source)
    found = [*_long_lines(source), *_words(text), *_long_sentences(text), *_proselint(text)]
    if (years := grade(text)) > HIGHEST_GRADE:
        found.append((1, f"reading grade {years:.1f}, at most {HIGHEST_GRADE}: shorter sentences"))
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    return [f"{name}:{line}: {said}" for line, said in sorted(found)]


def _long_lines(source: str) -> Iterator[tuple[int, str]]:
    code = NOT_PROSE.sub(lambda found: "\n" * found[0].count("\n"), source)
    for number, line in enumerate(code.splitlines(), 1):
        # A table row cannot be wrapped, nor can a line that is one link or one piece of code.
        wraps = " " in LINK.sub("x", CODE.sub("x", line.strip()))
        if len(line) > LONGEST_LINE and wraps and not line.startswith("|"):
            yield number, f"{len(line)} characters, at most {LONGEST_LINE}"


def _words(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, wanted in WORDS.items():
            for found in re.finditer(pattern, line):
                yield number, f"'{found[0].strip()}': write '{wanted}'"


def _long_sentences(text: str) -> Iterator[tuple[int, str]]:
    for number, paragraph in paragraphs(text):
        for sentence in sentences(paragraph):
            length = len(sentence.split())
            if length > LONGEST_SENTENCE:
                start = " ".join(sentence.split()[:6])
                yield number, f"{length} words, at most {LONGEST_SENTENCE}: '{start} ...'"


def _proselint(text: str) -> Iterator[tuple[int, str]]:
    for result in LintFile("page", text).lint({**DEFAULT, "checks": CHECKS}):
        yield result.pos[0], f"{result.check_result.message} ({result.check_result.check_path})"


def misspelt() -> list[str]:
    """What codespell finds in pages, code and help texts; its settings are in pyproject.toml."""
    top = [f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *top, "docs", "src", "tools", "benchmarks"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return (done.stdout + done.stderr).splitlines()


WORD_LISTS = ("formats.py", "choice_languages.py", "moved.py")
"""Modules whose long strings are lists of names, not messages."""
LEAST_WORDS = 4
"""Of a string, for it to be a message."""
WORD = re.compile(r"(?<!\S)[A-Za-z'-]{2,}(?=[\s.,;:!?]|$)")
NOT_A_MESSAGE = re.compile(r"<\||<\w|\\[a-z]|\{%|[|^$]|\bclass=|#")
"""Marks of chat formats, HTML, regular expressions and templates."""


def messages(source: str) -> list[tuple[int, str]]:
    """(line number, text) of every string of a program that people read.

    Args:
        source: Of a module. What stands in braces of an f-string is read as a piece of code.
    """
    tree = ast.parse(source)
    found = list(_help_texts(tree))
    # Other strings that stand alone are documentation. Parts of f-strings are read with the whole.
    apart = {
        id(part)
        for node in ast.walk(tree)
        for part in ([node.value] if isinstance(node, ast.Expr) else getattr(node, "values", []))
    }
    for node in ast.walk(tree):
        text = _string(node)
        if id(node) in apart or text is None or NOT_A_MESSAGE.search(text):
            continue
        if len(WORD.findall(text)) >= LEAST_WORDS:
            found.append((node.lineno, text))
    return found


def _help_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line number, docstring) of each verb, without examples and names of arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.endswith("_verb"):
            text = NOT_PROSE.sub("", ast.get_docstring(node) or "")
            yield node.lineno, re.sub(r"^ +\w+: ", "", text, flags=re.MULTILINE)


def _string(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    number = count()
    parts = (
        str(part.value) if isinstance(part, ast.Constant) else f"value{next(number)}"
        for part in node.values
    )
    return "".join(parts)


def message_complaints(module: Path) -> list[str]:
    """What is wrong with the messages of a module, one line each.

    Args:
        module: Its path.
    """
    found = messages(module.read_text("utf-8"))
    if not found:
        return []
    # A page of one message a line, so that a line of the page leads to its place in the module.
    text = "".join(f"{prose(' '.join(said.split()))} .\n" for _, said in found)
    wrong = [*_words(text), *_proselint(text)]
    for number, said in enumerate(text.splitlines(), 1):
        longest = max(len(sentence.split()) for sentence in sentences(said))
        if longest > LONGEST_SENTENCE:
            wrong.append((number, f"{longest} words, at most {LONGEST_SENTENCE}"))
    name = module.relative_to(ROOT) if module.is_relative_to(ROOT) else module
    return [f"{name}:{found[number - 1][0]}: {said}" for number, said in sorted(wrong)]


def main() -> int:
    """Print the grades, or what is wrong."""
    if "--grades" in sys.argv:
        for page in pages():
            print(f"{grade(prose(page.read_text('utf-8'))):5.1f}  {page.relative_to(ROOT)}")
        return 0
    CheckRegistry().register_many(__register__)
    found = [complaint for page in pages() for complaint in complaints(page)]
    for module in sorted((ROOT / "src").rglob("*.py")):
        if module.name not in WORD_LISTS:
            found += message_complaints(module)
    found += misspelt()
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
