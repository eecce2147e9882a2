"""In front of vLLM's server: tells the reader of clips which patch a model's name means."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from pave.vllm import PATCHES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

CHAT = "/v1/chat/completions"
_OURS = ("media_io_kwargs", "mm_processor_kwargs")
_REFUSED = (
    "{model} (vLLM has one LoRA a request, so patches have no weights and are not mixed here; name "
    "one patch, or serve with --engine transformers)"
)
"""What stands for the name of a mix; vLLM answers that a model of this name does not exist."""


class PatchOfModel:
    """An ASGI middleware: writes the patch of a chat request where `ClipLoader` reads it.

    What requests themselves say there is taken out: it reaches settings of decoders.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._patches = set(json.loads(os.environ[PATCHES]))

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] != CHAT:
            await self._app(scope, receive, send)
            return
        body = self.told(await _whole(receive))
        headers = [pair for pair in scope["headers"] if pair[0] != b"content-length"]
        headers.append((b"content-length", str(len(body)).encode()))
        begun = False

        async def again() -> Message:
            nonlocal begun
            if begun:  # whether the client hangs up
                return await receive()
            begun = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app({**scope, "headers": headers}, again, send)

    def told(self, body: bytes) -> bytes:
        """The body with what we say of its clips; as it is where vLLM will refuse it."""
        try:
            asked = json.loads(body)
        except ValueError:
            return body
        if not isinstance(asked, dict):
            return body
        for name in _OURS:
            asked.pop(name, None)
        model = asked.get("model")
        if not isinstance(model, str):
            return json.dumps(asked).encode()
        if model in self._patches:
            asked["media_io_kwargs"] = {"video": {"patch": model}}
        # A mix such as sound+depth, or a weight such as sound:0.5.
        elif self._patches.intersection(re.split("[+:]", model)):
            asked["model"] = _REFUSED.format(model=model)
        return json.dumps(asked).encode()


async def _whole(receive: Receive) -> bytes:
    """All of a request's body."""
    pieces = []
    more = True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(pieces)
