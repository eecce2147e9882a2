"""Caption scores: tokenized lines stay in step, Java's absence is said, nonsense is refused."""

from __future__ import annotations

import os
import time

import pytest

from pave.errors import ConfigError
from pave.metrics import caption_scores, captions, java
from pave.metrics.java import find_java, meteor, treebank

needs_java = pytest.mark.skipif(find_java() is None, reason="there is no Java")


@needs_java
def test_one_line_in_is_one_line_out():
    odd = [
        "",
        "a\r\nb",
        "c\u2028d",
        "  ",
        "\x85x\x0by",
        "他在笑",
        "",
        "it's 5,000.5%!",
        "\ud800",
        "",
    ]
    lines = treebank(find_java(), [*odd, "the end"])
    assert len(lines) == len(odd) + 1
    assert (
        lines[1] == "a b"
        and lines[-1] == "the end"
        and lines[5] == "他在笑"
        and lines[0] == lines[3] == lines[-2] == ""
    )
    assert treebank(find_java(), [""]) == [""]


def test_without_java_meteor_is_left_out_and_the_result_says_so(monkeypatch):
    monkeypatch.setattr(captions, "find_java", lambda: None)
    result = caption_scores(
        ["A red cup.", "two dogs"], [["a red cup"], ["some dogs", "two dogs run"]]
    )
    assert result.scores["METEOR"] is None and result.items[0]["meteor"] is None
    assert result.items[0]["tok_pred"] == ["a red cup"]
    assert result.items[0]["rouge_l"] == pytest.approx(1.0)
    assert "Java was not found" in result.notes["warning"] and "METEOR" in result.notes["warning"]
    assert caption_scores([""], [["a"]]).scores["CIDEr"] == 0
    assert caption_scores(["a"], [["..."]]).scores["CIDEr"] == 0


def test_java_is_found_in_java_home(monkeypatch, tmp_path):
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    assert find_java() == str(program)
    with pytest.raises(ConfigError, match="tokenizer failed"):
        treebank(str(program), ["a"])
    with pytest.raises(ConfigError, match="METEOR's Java process failed: it ended with status 3"):
        meteor(str(program), ["a"], [["a"]])


def test_a_missing_package_and_nothing_to_score(monkeypatch):
    with pytest.raises(ValueError, match="at least one"):
        caption_scores([], [])
    with pytest.raises(ValueError, match="non-empty list"):
        caption_scores(["a"], [[]])
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pave\[eval\]"):
        caption_scores(["a"], [["a"]])


def _fake(folder, script: str) -> str:
    """A program that stands in for Java."""
    program = folder / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


# METEOR as a German Java would answer: statistics with a comma, then an end with a trace.
_COMMA = """read line; echo '3,0 2,0'; read line
echo 'Exception in thread "main" java.lang.NumberFormatException: For input string: "3,0"' >&2
echo '	at java.base/jdk.internal.math.FloatingDecimal.readJavaFormatString' >&2; exit 1"""


@pytest.mark.parametrize(
    ("script", "cause", "memory"),
    [
        (_COMMA, "NumberFormatException", False),
        ("echo 'Unrecognized option: -Xnonsense' >&2; exit 1", "Unrecognized option", False),
        ("echo 'java.lang.UnsupportedClassVersionError' >&2; exit 1", "Java 8 or newer", False),
        ("read line; echo 'hello'; exit 0", "'hello'", False),
        ("echo 'java.lang.OutOfMemoryError: Java heap space' >&2; exit 1", "OutOfMemory", True),
        ("echo 'Error occurred'; echo 'Could not reserve enough space'; exit 1", "reserve", True),
        ("kill -9 $$", "signal 9", True),
    ],
)
def test_meteor_names_the_cause_and_memory_only_where_it_is(tmp_path, script, cause, memory):
    with pytest.raises(ConfigError) as caught:
        meteor(_fake(tmp_path, script), ["a"], [["a"]])
    assert cause in str(caught.value)
    assert ("2 GB" in str(caught.value)) == memory


@pytest.mark.parametrize("script", ["sleep 600", "read line; sleep 600", "exec sleep 600"])
def test_a_java_that_hangs_is_ended(tmp_path, monkeypatch, script):
    """And what it started."""
    monkeypatch.setenv(java.LIMIT, "1")
    program = _fake(tmp_path, script)
    begin = time.monotonic()
    with pytest.raises(ConfigError, match=r"no answer within 2 seconds.*set PAVE_JAVA_SECONDS"):
        treebank(program, ["a"])
    with pytest.raises(ConfigError, match="no answer within 2 seconds"):
        meteor(program, ["a"], [["a"]])
    assert time.monotonic() - begin < 120
    for odd in ("0", "-1", "soon", "1e9"):
        monkeypatch.setenv(java.LIMIT, odd)
        with pytest.raises(ConfigError, match="whole number of seconds"):
            treebank(program, ["a"])


def test_a_java_that_cannot_be_started_is_an_error_of_ours(tmp_path):
    program = tmp_path / "java"
    program.write_bytes(b"\x00not a program")
    program.chmod(0o755)
    for call in (lambda: meteor(str(program), ["a"], [["a"]]), lambda: treebank(str(program), [])):
        with pytest.raises(ConfigError, match="cannot be started"):
            call()


@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS"])
def test_java_gets_one_locale_whatever_the_machine_says(tmp_path, monkeypatch, variable):
    """Of the variables that it reads by itself, limits of memory alone are kept."""
    given = "-Xmx1G -Duser.country=DE -Duser.language.format=de -Xlog:gc -XX:MaxRAMPercentage=50.0"
    monkeypatch.setenv(variable, given)
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    seen = tmp_path / "seen"
    script = f'echo "$@" >> {seen}; echo "${variable}" >> {seen}; echo "$LC_ALL" >> {seen}'
    treebank(_fake(tmp_path, script), [])
    arguments, kept, locale = seen.read_text().splitlines()
    assert locale == "C.UTF-8" and kept == "-Xmx1G -XX:MaxRAMPercentage=50.0"
    last = dict(word.split("=", 1) for word in arguments.split() if word.startswith("-D"))
    assert last["-Duser.country"] == last["-Duser.country.format"] == "US"
    assert last["-Duser.language"] == last["-Duser.language.format"] == "en"
    assert last["-Duser.region"] == "US" and last["-Duser.extensions"] == ""
    assert os.environ[variable] == given, "the caller's own stays"


def test_lines_that_are_no_sentences_are_refused(tmp_path):
    """They would put every sentence beside the tokens of another one."""
    greeting = "echo 'Listening for transport dt_socket at address: 5005'; cat"
    with pytest.raises(ConfigError, match="tokenizer failed"):
        treebank(_fake(tmp_path, greeting), ["a", "b"])
    assert treebank(_fake(tmp_path, "cat"), ["a", "", "b", ""]) == ["a", "", "b", ""]


def test_java_is_found_where_paths_are_relative(tmp_path, monkeypatch):
    """It is started in another folder than the caller's."""
    (tmp_path / "jdk" / "bin").mkdir(parents=True)
    _fake(tmp_path / "jdk" / "bin", "cat")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAVA_HOME", "jdk")
    assert treebank(find_java(), ["a"]) == ["a"]
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", f"jdk/bin{os.pathsep}{os.environ['PATH']}")
    assert treebank(find_java(), ["a"]) == ["a"]


@needs_java
@pytest.mark.parametrize(
    "options",
    ["-Xlog:gc", "-verbose:class", "-agentlib:jdwp=transport=dt_socket,server=y,suspend=n"],
)
def test_what_java_logs_is_no_token(monkeypatch, options):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", options)
    assert treebank(find_java(), ["a man", "", "sings."]) == ["a man", "", "sings"]


@needs_java
@pytest.mark.slow
@pytest.mark.parametrize("variable", ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS"])
@pytest.mark.parametrize(
    "options",
    [
        "-Duser.language=de -Duser.country=DE",
        "-Duser.region=DE",
        "-Duser.language.format=de -Duser.country.format=DE",
        "-Duser.language=tr -Duser.country=TR",
        "-Duser.language=ar -Duser.extensions=u-nu-arab",
        "-Duser.language=th -Duser.country=TH -Duser.variant=TH",
        "-Xlog:gc",
    ],
)
def test_scores_are_those_of_any_country(monkeypatch, variable, options):
    monkeypatch.setenv(variable, options)
    said, wanted = ["a man is singing", "a dog barks"], [["a man sings"], ["a dog is barking"]]
    # METEOR 1.5 under LANG=C.
    assert caption_scores(said, wanted).scores["METEOR"] == pytest.approx(0.32026916786713816)
