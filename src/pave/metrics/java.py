"""The two Java programs behind caption scores: the Penn Treebank tokenizer and METEOR, from the wheel `pycocoevalcap`.

The wheel's own Python wrappers write into the installed package and take the locale's encoding;
these run the same jars with the same arguments, need no writable folder, and always speak UTF-8.
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
# The last two make a short run start sooner.
_OPTIONS = [
    "-Dfile.encoding=UTF-8",
    "-Duser.language=en",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
]


def find_java() -> str | None:
    """The `java` program of JAVA_HOME or of the PATH, None where there is none."""
    home = os.environ.get("JAVA_HOME")
    return (shutil.which("java", path=os.path.join(home, "bin")) if home else None) or shutil.which(
        "java"
    )


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
    words = [
        java,
        *_OPTIONS,
        "-cp",
        str(jar),
        "edu.stanford.nlp.process.PTBTokenizer",
        "-preserveLines",
        "-lowerCase",
    ]
    text = "\n".join(_BREAKS.sub(" ", sentence) for sentence in sentences)
    done = subprocess.run(
        words, input=text.encode("utf-8", "replace"), capture_output=True, check=False
    )
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    if done.returncode or len(lines) < len(sentences):
        raise ConfigError(
            f"the Java tokenizer failed: {_last_line(done.stderr)}; check that `{java} -version` "
            "works"
        )
    return [
        " ".join(word for word in line.rstrip().split(" ") if word not in _PUNCTUATION)
        for line in lines[: len(sentences)]
    ]


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
    words = [java, *_OPTIONS, "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    pipe = subprocess.PIPE
    try:  # around the process too: closing its input sends what is left, which also fails when it has ended
        with subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, cwd=jar.parent
        ) as process:
            try:
                return _talk(process, hypotheses, references)
            finally:
                process.kill()
    except (BrokenPipeError, ValueError) as error:
        raise ConfigError(
            f"METEOR's Java process ended early; it needs 2 GB of memory and `{java}` 8 or newer"
        ) from error


def _talk(
    process: subprocess.Popen[bytes], hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[float, list[float]]:
    """METEOR's protocol on standard input and output: statistics of each sentence, then scores from them."""
    assert process.stdin is not None and process.stdout is not None
    ask, told = process.stdin, process.stdout
    parts = []
    for hypothesis, wanted in zip(hypotheses, references, strict=True):
        said = hypothesis.replace("|||", "").replace("  ", " ")
        _send(ask, "SCORE", *wanted, said)
        parts.append(told.readline().decode().strip())
    _send(ask, "EVAL", *parts)
    scores = [float(told.readline()) for _ in parts]
    return float(told.readline()), scores


def _send(stream: IO[bytes], *parts: str) -> None:
    stream.write((" ||| ".join(parts) + "\n").encode())
    stream.flush()


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no output"
