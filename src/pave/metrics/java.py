"""The two Java programs behind caption scores: the Penn Treebank tokenizer and METEOR.

Both come with the wheel `pycocoevalcap`, whose own Python wrappers write into the installed package
and take the locale's encoding; these run the same jars with the same arguments, need no writable
folder, and always speak UTF-8.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pave.errors import ConfigError
from pave.version import install_extra

LIMIT = "PAVE_JAVA_SECONDS"
"""The setting of how long Java may take to start and to answer, seconds."""
NEEDS_JAVA = "METEOR and the Penn Treebank tokenizer"
# What pycocoevalcap drops after tokenizing.
_PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", *".?!,:;-", "--", "..."]
)
# All that the tokenizer takes for the end of a line: one line in must be one line out.
_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# What Java takes from the machine, fixed. English casing ("I" is no dotless i), and the United
# States' numbers: METEOR prints its statistics with the locale's decimal sign and digits, and reads
# them back with a point only. `format` is a locale of its own where a desktop sets numbers apart
# from words; `region`, `variant`, `script` and `extensions` override or refine the country.
_LOCALE = (
    "-Duser.language=en",
    "-Duser.country=US",
    "-Duser.region=US",
    "-Duser.variant=",
    "-Duser.script=",
    "-Duser.extensions=",
    "-Duser.language.format=en",
    "-Duser.country.format=US",
    "-Duser.variant.format=",
    "-Duser.script.format=",
    "-Duser.extensions.format=",
)
_ENCODING = ("-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8")
# The last two make a short run start sooner.
_OPTIONS = (*_ENCODING, *_LOCALE, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Variables from which Java takes options by itself; the last one overrides its command line.
_OPTION_VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS")
# What of them is kept: how much memory it may take, which a machine may have to limit. The rest
# changes what is written: a log or a debugger greets on the output, between the results.
_KEPT = re.compile(r"-X(?:mx|ss)\w+|-XX:\w*(?:Memory|Percentage|Size|RAM)\w*=[\w.]+")
# How Java says that it lacks memory; every other end has another cause.
_NO_MEMORY = re.compile(
    r"OutOfMemory|insufficient memory|reserve enough space|Cannot allocate memory|too small"
)
# Lines that every Java writes and that explain nothing.
_CHATTER = re.compile(
    r"^(?:Picked up |NOTE: Picked up |\s+at |\.\.\. \d+ more|OpenJDK .*warning).*"
)


def find_java() -> str | None:
    """The `java` program of JAVA_HOME or of the PATH, None where there is none."""
    home = os.environ.get("JAVA_HOME")
    program = None
    if home:
        program = shutil.which("java", path=os.path.join(home, "bin"))
    program = program or shutil.which("java")
    if program is None:
        return None
    # Either may be relative, and Java is started in the folder of its jar.
    return os.path.abspath(program)


def package_folder() -> Path:
    """Where the jars are.

    Raises:
        ConfigError: If pycocoevalcap is not installed.
    """
    spec = find_spec("pycocoevalcap")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "caption scores need the package pycocoevalcap; install pave with its extra: "
            f"{install_extra('eval')}"
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
    command = [java, *_OPTIONS, "-cp", jar.name, tokenizer, "-preserveLines", "-lowerCase"]
    text = "".join(_BREAKS.sub(" ", sentence) + "\n" for sentence in sentences)
    # Half of a surrogate pair cannot be encoded, and a model may say one.
    given = text.encode("utf-8", "replace")
    pipe = subprocess.PIPE
    with (
        _started(java, command, jar.parent, stderr=pipe) as process,
        _ended_after(java, process, len(sentences)),
    ):
        output, said = process.communicate(given)
    lines = output.decode("utf-8", "replace").split("\n")
    # A line for each sentence, and nothing behind the last: otherwise they stand beside others'.
    status = process.returncode
    if status or len(lines) != len(sentences) + 1:
        if status:
            said += b"\n" + output[:4000]  # where Java says that it cannot start
        raise ConfigError(
            f"the Java tokenizer failed: {_complaint(said, status)}; check that "
            f"`{java} -version` works"
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
    command = [java, *_OPTIONS, "-Xmx2G", "-jar", jar.name, "-", "-", "-stdio", "-l", "en", "-norm"]
    # Complaints go into a file: a pipe that nobody reads while talking could fill and block.
    with TemporaryFile() as complaints:
        process = _started(java, command, jar.parent, stderr=complaints)
        # Around the process too: closing its input sends what is left, which also fails when it
        # has ended.
        try:
            with process, _ended_after(java, process, len(hypotheses)):
                try:
                    return _converse(process, hypotheses, references)
                except (BrokenPipeError, _EndedError):
                    # What it complains of, and its status, are there once it is gone. That it
                    # cannot start Java says on its output.
                    if _await(process) and process.stdout is not None:
                        complaints.write(b"\n" + process.stdout.read(4000))
                    raise
                finally:
                    _end(process)
        except (BrokenPipeError, _EndedError) as error:
            complaints.seek(0)
            seen = ""
            if isinstance(error, _EndedError):
                seen = str(error)  # a broken pipe says nothing of the cause
            reason = _complaint(complaints.read(), process.returncode, seen)
            raise ConfigError(f"METEOR's Java process failed: {reason}{_advice(reason)}") from error


def _started(
    java: str, command: list[str], folder: Path, stderr: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """A Java program, listening and talking, in a group of processes of its own.

    Raises:
        ConfigError: If it cannot be started.
    """
    _seconds()  # a wrong setting is refused before there is a process to wait for
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=stderr,
            cwd=folder,
            env=_environ(),
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigError(f"{java} cannot be started: {error.strerror or error}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started, which would keep its output open."""
    if process.poll() is not None:
        return
    # A program named `java` may be a script that starts the true one.
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


@contextlib.contextmanager
def _ended_after(java: str, process: subprocess.Popen[bytes], sentences: int) -> Iterator[None]:
    """End a program that takes longer than it ever should.

    Raises:
        ConfigError: If it did, in the place of what then went wrong.
    """
    seconds = _seconds() + sentences  # a thousand are scored in a second
    late = threading.Event()

    def end() -> None:
        late.set()
        _end(process)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    words = (
        f"Java gave no answer within {seconds:,} seconds and was ended; check that "
        f"`{java} -version` works, or set {LIMIT}"
    )
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise ConfigError(words) from error
        raise
    finally:
        timer.cancel()
        _end(process)
    if late.is_set():
        raise ConfigError(words)


def _seconds() -> int:
    """How long Java may take beside a second a sentence."""
    text = os.environ.get(LIMIT, "")
    if not text:
        return 300
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise ConfigError(f"{LIMIT}={text!r}: must be a whole number of seconds below 1,000,000")
    return int(text)


class _EndedError(Exception):
    """METEOR's answer is no number: it has ended, or speaks otherwise than it should."""


def _await(process: subprocess.Popen[bytes]) -> bool:
    """Let a process that gave no right answer end by itself, but not for long."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return process.returncode is not None


def _environ() -> dict[str, str]:
    """The environment, without options for Java that change what it writes."""
    environ = dict(os.environ)
    # UTF-8 names of folders, whatever the locale; where there is no such locale nothing changes.
    environ["LC_ALL"] = "C.UTF-8"
    for variable in _OPTION_VARIABLES:
        given = environ.pop(variable, "")
        kept = list(filter(_KEPT.fullmatch, given.split()))
        if kept:
            environ[variable] = " ".join(kept)
    return environ


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
        statistics.append(_heard(results))
        # Anything but numbers is a complaint, and what follows says of what.
        if not re.fullmatch(r"[-+.,\dEe\s]+|NaN", statistics[-1]):
            raise _EndedError(f"statistics were expected, not {statistics[-1][:80]!r}")
    _send(requests, "EVAL", *statistics)
    scores = [_number(_heard(results)) for _ in statistics]
    whole = _number(_heard(results))
    return whole, scores


def _heard(stream: IO[bytes]) -> str:
    """One line of METEOR's; an empty one means that its output was closed."""
    line = stream.readline().decode("utf-8", "replace")
    if not line:
        raise _EndedError
    return line.strip()


def _number(line: str) -> float:
    """A score as METEOR prints it."""
    try:
        return float(line)
    except ValueError:
        raise _EndedError(f"a score was expected, not {line[:80]!r}") from None


def _send(stream: IO[bytes], *parts: str) -> None:
    """One line of the protocol, at once."""
    # Half of a surrogate pair cannot be encoded, and a model may say one.
    stream.write((" ||| ".join(parts) + "\n").encode("utf-8", "replace"))
    stream.flush()


def _complaint(text: bytes, status: int | None, otherwise: str = "") -> str:
    """What a program complained of first, which is the cause; its status where it said nothing.

    Args:
        text: Its standard error.
        status: Its exit status, negative for a signal; None while it runs.
        otherwise: What was seen from outside.
    """
    lines = []
    for line in text.decode("utf-8", "replace").splitlines():
        line = _CHATTER.sub("", line).strip()
        if line:
            lines.append(line)
    if lines:
        # Java's own messages have the cause first or in a line of its own.
        worst = [line for line in lines if _NO_MEMORY.search(line)]
        return (worst or lines)[0][:300]
    if otherwise:
        return otherwise
    if status is not None and status < 0:
        return f"it was ended by signal {-status} without a message"
    return f"it ended with status {status} without a message"


def _advice(reason: str) -> str:
    """What helps: memory only where Java speaks of it."""
    if _NO_MEMORY.search(reason):
        return "; it needs 2 GB of memory"
    if "signal 9" in reason:
        return "; this is how the system ends processes if memory runs out (METEOR needs 2 GB)"
    if "UnsupportedClassVersionError" in reason:
        return "; it needs Java 8 or newer"
    return ""
