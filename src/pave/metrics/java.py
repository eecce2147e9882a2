"""The two Java programs behind caption scores: the Penn Treebank tokenizer and METEOR.

Both come with the wheel `pycocoevalcap`, whose own Python wrappers write into the installed package
and take the locale's encoding; these run the same jars with the same arguments, need no writable
folder, and always speak UTF-8.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from pave.errors import ConfigError

NEEDS_JAVA = "METEOR and the Penn Treebank tokenizer"
# What pycocoevalcap drops after tokenizing.
_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;-", "--", "..."]
)
# All that the tokenizer takes for the end of a line: one line in must be one line out.
_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# English casing whatever the locale ("I" is no dotless i); the last two make a short run start
# sooner.
_OPTIONS = [
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
]


def find_java() -> str | None:
    """The `java` program of JAVA_HOME or of the PATH, None where there is none."""
    home = os.environ.get("JAVA_HOME")
    if home:
        program = shutil.which("java", path=os.path.join(home, "bin"))
        if program is not None:
            return program
    return shutil.which("java")


def package_folder() -> Path:
    """Where the jars are.

    Raises:
        ConfigError: If pycocoevalcap is not installed.
    """
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "caption scores need the package pycocoevalcap; install pave with its extra: pip "
            "install 'pave[eval]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def treebank(java: str, sentences: Sequence[str]) -> list[str]:
    """Sentences in lower case, tokens parted by one space, punctuation dropped.

    Raises:
        ConfigError: If Java fails.

    Example:
        >>> treebank("java", ["It's a well-lit room!"])  # doctest: +SKIP
        ["it 's a well-lit room"]
    """
    jar = package_folder() / "tokenizer" / "stanford-corenlp-3.4.1.jar"
    tokenizer = "edu.stanford.nlp.process.PTBTokenizer"
    command = [java, *_OPTIONS, "-cp", str(jar), tokenizer, "-preserveLines", "-lowerCase"]
    text = "\n".join(_BREAKS.sub(" ", sentence) for sentence in sentences)
    # Half of a surrogate pair cannot be encoded, and a model may say one.
    given = text.encode("utf-8", "replace")
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode or len(lines) < len(sentences):
        raise ConfigError(
            f"the Java tokenizer failed: {_last_line(done.stderr)}; check that `{java} -version` "
            "works"
        )
    tokens = []
    for line in lines[: len(sentences)]:
        words = [word for word in line.rstrip().split(" ") if word not in _PUNCTUATION]
        tokens.append(" ".join(words))
    return tokens


def meteor(
    java: str, hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """METEOR 1.5 of tokenized sentences.

    Args:
        java: The program.
        hypotheses: One a question.
        references: All of each question.

    Returns:
        The score of the whole and of each hypothesis. The whole is not the mean of the parts: its
        statistics are pooled.

    Raises:
        ConfigError: If Java fails.
    """
    jar = package_folder() / "meteor" / "meteor-1.5.jar"
    command = [java, *_OPTIONS, "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    pipe = subprocess.PIPE
    # Around the process too: closing its input sends what is left, which also fails when it has
    # ended.
    try:
        with subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=jar.parent
        ) as process:
            try:
                return _converse(process, hypotheses, references)
            finally:
                process.kill()
    except (BrokenPipeError, ValueError) as error:
        raise ConfigError(
            f"METEOR's Java process ended early; it needs 2 GB of memory and `{java}` 8 or newer"
        ) from error


def _converse(
    process: subprocess.Popen[bytes], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """METEOR's protocol on standard input and output.

    `SCORE ||| reference ||| ... ||| hypothesis` is answered with the statistics of one sentence,
    `EVAL ||| statistics ||| ...` with a line a sentence and one of the whole.
    """
    assert process.stdin is not None and process.stdout is not None
    requests, results = process.stdin, process.stdout
    statistics = []
    for hypothesis, accepted in zip(hypotheses, references, strict=True):
        # As pycocoevalcap does it: the protocol's own mark must not be in a sentence.
        plain = hypothesis.replace("|||", "").replace("  ", " ")
        _send(requests, "SCORE", *accepted, plain)
        statistics.append(results.readline().decode().strip())
    _send(requests, "EVAL", *statistics)
    scores = [float(results.readline()) for _ in statistics]
    whole = float(results.readline())
    return whole, scores


def _send(stream: IO[bytes], *parts: str) -> None:
    """One line of the protocol, at once."""
    stream.write((" ||| ".join(parts) + "\n").encode())
    stream.flush()


def _last_line(text: bytes) -> str:
    """What a program complained of last."""
    lines = text.decode("utf-8", "replace").strip().splitlines()
    if not lines:
        return "no output"
    return lines[-1]
