"""A tiny base with two patches behind a server: in this process, or in one of its own."""

from __future__ import annotations

import base64
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pave
from helpers import tinyrun
from pave.model import PatchedModel

SOURCE = Path(__file__).parents[2] / "src"


class Inline:
    """Stands for `pave.workers.Workers` and works in this process: a worker takes seconds."""

    def __init__(self, **settings: Any) -> None:
        self.calls: list[str] = []

    def call(self, about: str, work: Any, *arguments: Any) -> Any:
        self.calls.append(about)
        return work(*arguments)

    def __exit__(self, *words: object) -> None:
        pass


def model_of(made: tinyrun.Run) -> PatchedModel:
    """The base, a sound patch, and a LoRA alone."""
    model = PatchedModel(pave.load_base(made.base))
    model.load_patch(made.patch, name="sound")
    model.load_patch(made.lora, name="lora")
    model.set_patches({})
    return model


def data(path: Path, kind: str = "video/mp4") -> str:
    """A file as an address."""
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def video(address: str | Path) -> dict[str, Any]:
    """A clip as a part of a message."""
    address = data(address) if isinstance(address, Path) else address
    return {"type": "video_url", "video_url": {"url": address}}


def asked(question: str, *parts: dict[str, Any]) -> list[dict[str, Any]]:
    """Messages with one question."""
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


@contextmanager
def server(*words: object, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`pave serve` in a process of its own: its address, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pave", "serve", *map(str, words), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "HF_HUB_OFFLINE": "1", **environment},
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"on (http://\S+)/v1", line)
        assert found, line + process.stderr.read()
        yield found[1], process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
