"""Files that the page for people was given, as the service reads them and as requests hold them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pave.serve.content import SentClip
from pave.serve.sources import Source


def sent_clip(clip: str, sides: Mapping[str, list[str]]) -> SentClip:
    """A clip as the service reads it, with channels that are sent beside it.

    Args:
        clip: The film's path.
        sides: Channel -> paths of its files.
    """
    sent = SentClip(_source(clip))
    for channel, paths in sides.items():
        sent.sides[channel] = [_source(path) for path in paths]
    return sent


def video_part(path: str) -> dict[str, Any]:
    """A film as a part of a message."""
    return {"type": "video_url", "video_url": {"url": _address(path)}}


def side_parts(sides: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Channels that are sent beside a film as parts of a message."""
    parts = []
    for channel, paths in sides.items():
        for path in paths:
            side = {"channel": channel, "url": _address(path)}
            parts.append({"type": "side", "side": side})
    return parts


def text_part(text: str) -> dict[str, Any]:
    """Words as a part of a message."""
    return {"type": "text", "text": text}


def _source(path: str) -> Source:
    """A file of the page's own folder, or an example."""
    file = Path(path)
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return Source(file, digest, file.name)


def _address(path: str) -> str:
    """A file's content as an address that holds it."""
    file = Path(path)
    content = base64.b64encode(file.read_bytes())
    # Its ending tells what kind of file it is.
    return f"data:;name=file{file.suffix};base64,{content.decode()}"
