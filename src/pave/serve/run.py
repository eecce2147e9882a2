"""A server process: an address, a key, and an end that answers what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from pave.errors import ConfigError
from pave.files import regular_file
from pave.serve.service import Service

KEY = "PAVE_API_KEY"
"""The variable of the environment with the key that clients must send."""


def read_key(file: Path | None) -> str | None:
    """The API key: of a file, else of the environment; None for a server without one.

    Raises:
        ConfigError: If the file cannot be read, or what it holds is no key.
    """
    key = os.environ.get(KEY)
    where = KEY
    if file is not None:
        where = str(file)
        try:
            key = regular_file(file, ConfigError).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: the API key cannot be read ({error})") from error
    if key is None:
        return None
    key = key.strip()  # files end with a line break
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where}: an API key is one word of printable ASCII characters")
    return key


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address; port 0 takes a free one.

    Raises:
        ConfigError: If the address is taken, or none of this machine.
    """
    try:
        # "::1" and its like hold colons, names and IPv4 addresses none.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error}); choose another --port or --host"
        ) from error


class _Server(uvicorn.Server):
    """Ends when all questions are answered, even if a page is open and goes on listening."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take nothing new, and end."""
        leaving = asyncio.create_task(self._leave_pages())
        await super().shutdown(sockets)
        leaving.cancel()

    async def _leave_pages(self) -> None:
        while self._service.in_progress:
            await asyncio.sleep(0.1)
        # The last answer may still be on its way to its client.
        await asyncio.sleep(1)
        for task in self.server_state.tasks:
            task.cancel()


def run(app: FastAPI, service: Service, at: socket.socket, ready: Callable[[str], None]) -> None:
    """Serve until the process is told to end; then answer what is in progress, and nothing new.

    Args:
        app: The application.
        service: What answers; it is closed at the end.
        at: Where to listen.
        ready: Called with the address, once clients can connect.
    """
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=service.limits.max_request_seconds,
    )
    host, port = at.getsockname()[:2]  # the port that was free
    shown = f"[{host}]" if ":" in host else host

    def leave(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # uvicorn ends in order, and then raises the signal once more as others would meet it: that must
    # not end the process before it has tidied up.
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            service.warm()
            ready(f"http://{shown}:{port}")
            _Server(config, service).run(sockets=[at])
    finally:
        service.close()
        signal.signal(signal.SIGTERM, before)
