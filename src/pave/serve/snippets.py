"""A question of the page as code: Python, the command line, and curl."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping


def as_python(
    clip: str, question: str, sources: Mapping[str, str], weights: Mapping[str, float], base: str
) -> str:
    """The question in Python.

    Args:
        clip: Name of the file.
        question: The question.
        sources: Patch -> where it was loaded from.
        weights: Patches at work.
        base: Where the base was loaded from.
    """
    lines = ["import pave", "", f"model = pave.PatchedModel(pave.load_base({base!r}))"]
    lines += [f"model.load_patch({sources[name]!r}, name={name!r})" for name in weights]
    asked = f"model.ask({clip!r}, {question!r}, patches={dict(weights)!r})"
    return "\n".join([*lines, f"print({asked})"])


def as_command(
    clip: str, question: str, sources: Mapping[str, str], weights: Mapping[str, float], base: str
) -> str:
    """The question for a shell, which knows patches that are on or off."""
    words = ["pave", "ask", clip, question, "--base", base]
    for name, weight in weights.items():
        if weight != 1:
            return "# The command line has no weights other than 1; use Python or curl."
        words += ["--patch", sources[name]]
    return shlex.join(words)


def as_curl(clip: str, question: str, model: str, address: str) -> str:
    """The question for this server; the clip is put in by the shell."""
    url = {"url": "data:video/mp4;base64,CLIP"}
    content = [{"type": "video_url", "video_url": url}, {"type": "text", "text": question}]
    body = {"model": model, "messages": [{"role": "user", "content": content}]}
    # The clip goes between two halves of the text: an argument of a command could not hold it.
    before, _, after = json.dumps(body, ensure_ascii=False).partition(";base64,CLIP")
    before += ";base64,"
    halves = [f"printf '%s' {shlex.quote(half)};" for half in (before, after)]
    return (
        f"{{ {halves[0]} base64 -w0 {shlex.quote(clip)}; {halves[1]} }} > ask.json\n"
        f"curl {address}/v1/chat/completions -H 'Content-Type: application/json' -d @ask.json"
    )
