"""The clips of a token arm: what tells them apart, and their tokens from the cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pave.cache import TokenCache
from pave.channels import Encoder, cache_key, encode_cached
from pave.data import Record, group_by_clip
from pave.errors import ConfigError
from pave.evaluate.evaluation import Evaluation
from pave.tokens import Tokens


class ProbeClips:
    """Tokens of clips by what they hold, not by what they are called.

    Args:
        run: The evaluation.
        arm: Name of the arm; the encoder is that of its patch.

    Raises:
        ConfigError: If the patch has no channel.
    """

    def __init__(self, run: Evaluation, arm: str) -> None:
        self._run = run
        self._cache = TokenCache(run.config.cache_folder)
        self._encoder: Encoder | None = None
        for name in run.patches[arm]:
            self._encoder = run.model.encoder(name)
            if self._encoder is None:
                raise ConfigError(f"arm {arm!r}: its patch has no channel, so it has no tokens")
        self._contents: dict[str, str] = {}  # video and media -> their content

    @property
    def channel(self) -> str:
        """The encoder's channel; empty without one."""
        if self._encoder is None:
            return ""
        return self._encoder.channel

    def content(self, record: Record) -> str:
        """What tells clips apart: the content of the channel's media, else of the video."""
        media = record.channels.get(self.channel)
        known = repr((record.video, media))
        if known not in self._contents:
            self._contents[known] = self._content(record.video, media)
        return self._contents[known]

    def _content(self, video: str, media: Any) -> str:
        if media is None or self._encoder is None:
            return self._cache.content(video)
        return cache_key(self._cache, self._encoder, media)

    def read(self, records: Sequence[Record]) -> Mapping[str, Tokens]:
        """Content -> tokens, of the clips that have some."""
        found: dict[str, Tokens] = {}
        clips = group_by_clip(records)
        for number, members in enumerate(clips, 1):
            first = members[0]
            tokens = self._tokens(first)
            if tokens is not None:
                found[self.content(first)] = tokens
            if self._run.progress is not None:
                self._run.progress("read", number, len(clips))
        return found

    def _tokens(self, record: Record) -> Tokens | None:
        assert self._encoder is not None
        media = record.channels.get(self.channel)
        if media is None:
            return None
        return encode_cached(self._cache, self._encoder, media)
