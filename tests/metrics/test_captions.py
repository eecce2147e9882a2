"""Caption scores: tokenized lines stay in step, Java's absence is said, nonsense is refused."""

from __future__ import annotations

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
    assert "no Java was found" in result.notes["warning"] and "METEOR" in result.notes["warning"]
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
    with pytest.raises(ConfigError, match="METEOR's Java process ended early"):
        meteor(str(program), ["a"], [["a"]])


def test_a_missing_package_and_nothing_to_score(monkeypatch):
    with pytest.raises(ValueError, match="at least one"):
        caption_scores([], [])
    with pytest.raises(ValueError, match="no empty list"):
        caption_scores(["a"], [[]])
    monkeypatch.setattr(java, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pave\[eval\]"):
        caption_scores(["a"], [["a"]])
