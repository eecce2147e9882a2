"""The HTTP side: OpenAI's routes on FastAPI, server-sent events, and errors in OpenAI's shape."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pave.errors import PaveError
from pave.serve.failures import RequestError, body_of, status_of
from pave.serve.rows import Piece
from pave.serve.service import Running, Service
from pave.serve.wire import ChatRequest, logprobs_of, request_of, usage

logger = logging.getLogger(__name__)

_HERE = ["127.0.0.1", "localhost", "::1", "[::1]"]
_ROOM = 10**6  # bytes of a request beside its media


def make_app(service: Service, key: str | None = None, *, local: bool = False) -> FastAPI:
    """The application.

    Args:
        service: What answers; the caller closes it.
        key: What clients must send as a bearer token; none when not given.
        local: Whether it answers only under the names of this machine. A page of another site could
            otherwise give its own name this machine's address, and ask in the reader's place.

    Example:
        >>> app = make_app(Service(model))  # doctest: +SKIP
        >>> uvicorn.run(app)  # doctest: +SKIP
    """
    routes = _Routes(service, key)
    # Its pages of documentation would load scripts from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_route("/health", routes.health)
    app.add_route("/metrics", routes.metrics)
    app.add_route("/v1/models", routes.models)
    app.add_route("/v1/chat/completions", routes.chat, methods=["POST"])
    app.add_exception_handler(PaveError, _refused)
    # No such path, or not with this method.
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _refused)
    if local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_HERE)
    app.add_middleware(_Counted, service=service)
    return app


class _Routes:
    """What is answered at each path."""

    def __init__(self, service: Service, key: str | None) -> None:
        self._service = service
        self._key = key

    async def health(self, request: Request) -> Response:
        """Whether questions are answered; open to everybody, for whatever restarts servers."""
        alive = self._service.engine.alive
        status = "ok" if alive else "the model's thread has ended"
        return JSONResponse({"status": status, "base": self._service.base}, 200 if alive else 503)

    async def metrics(self, request: Request) -> Response:
        """Counts."""
        self._check_key(request)
        return PlainTextResponse(self._service.figures(), media_type="text/plain; version=0.0.4")

    async def models(self, request: Request) -> Response:
        """The base and the patches."""
        self._check_key(request)
        return JSONResponse({"object": "list", "data": self._service.models()})

    async def chat(self, request: Request) -> Response:
        """An answer, whole or as a stream."""
        self._check_key(request)
        # A full queue is told before anything is read.
        running = self._service.enter()
        try:
            asked = request_of(await _body(request, self._service.limits.upload_bytes))
            await _unless_gone(request, self._service.begin(asked, running))
            if asked.stream:
                return await _streamed(asked, running)
            answer = await _unless_gone(request, _whole(asked, running))
        except BaseException:  # a stream keeps its place until it ends
            running.close()
            raise
        running.close()
        return JSONResponse(answer)

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if self._key is None:
            return
        # In a time that does not depend on how much of it is right.
        if not hmac.compare_digest(given, f"Bearer {self._key}".encode()):
            raise RequestError(
                "the API key is missing or wrong; send it as 'Authorization: Bearer KEY'",
                401,
                code="invalid_api_key",
            )


async def _refused(request: Request, error: Exception) -> Response:
    """An error in OpenAI's shape."""
    status = status_of(error)
    if isinstance(error, HTTPException):
        status = error.status_code
        error = RequestError(f"{request.method} {request.url.path}: {error.detail}", status)
    if not isinstance(error, PaveError):
        logger.error("a request failed", exc_info=error)
    # OpenAI's client tries again by itself after so many seconds.
    headers = {"Retry-After": "1"} if status == 503 else None
    return JSONResponse(body_of(error), status, headers)


class _Counted:
    """Counts answers by status, around the application."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._metrics = service.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.add("requests_total", status=str(message["status"]))
            await send(message)

        await self._app(scope, receive, watch if scope["type"] == "http" else send)


async def _body(request: Request, most: int) -> Any:
    """The request's JSON, as far as it is not too large.

    Raises:
        RequestError: If it is, or is no JSON.
    """
    # A page of another site can send plain text to this machine, but JSON only if we allowed it.
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestError("send the request as application/json", 415)
    room = most * 4 // 3 + _ROOM  # base64 takes a third more
    declared = request.headers.get("content-length", "0")
    size = int(declared) if declared.isdecimal() else 0
    pieces = []
    # What is announced as too large is not read at all.
    if size <= room:
        size = 0
        async for piece in request.stream():
            size += len(piece)
            if size > room:  # announced as less, or not announced
                break
            pieces.append(piece)
    if size > room:
        raise RequestError(
            f"the request exceeds the limit of {most // 10**6} MB (max_upload_mb)", 413
        )
    try:
        return await asyncio.to_thread(json.loads, b"".join(pieces))
    except (ValueError, RecursionError) as error:
        raise RequestError(f"the body is not JSON ({error})") from error


async def _unless_gone(request: Request, work: Any) -> Any:
    """What work returns; it is given up when the client hangs up.

    Raises:
        RequestError: If the client has gone; nobody reads it.
    """
    # Both run in this loop; whichever is first decides.
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            # Nobody reads it; it is for the count.
            raise RequestError("the client has closed the connection", 499)
        return task.result()
    finally:
        for one in (task, left):
            one.cancel()  # of the work this gives the wait up, not what others wait for
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await one


async def _left(request: Request) -> None:
    """Returns when the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _whole(asked: ChatRequest, running: Running) -> dict[str, Any]:
    """All of an answer as one object."""
    count = asked.n or 1
    # Several answers grow side by side.
    texts = [""] * count
    marks: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    reasons = [""] * count
    tokens = 0
    async for piece in running.pieces(count):
        texts[piece.index] += piece.text
        marks[piece.index] += piece.marks or []
        reasons[piece.index] = piece.reason or ""
        tokens += piece.tokens
    choices = []
    for index, text in enumerate(texts):
        told = None if asked.top is None else marks[index]
        message = {"role": "assistant", "content": text, "refusal": None}
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": logprobs_of(told),
                "finish_reason": reasons[index],
            }
        )
    counts = usage(running.started.prompt, tokens, running.started.cached)
    return _object(asked, running) | {"choices": choices, "usage": counts}


def _object(asked: ChatRequest, running: Running, kind: str = "chat.completion") -> dict[str, Any]:
    """What all objects of an answer have."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
        # Not of OpenAI: which patches worked, and which were off for want of their channel.
        "pave": {"patches": running.weights, "absent": running.absent},
    }


class _Events(StreamingResponse):
    """A stream that gives its place in the queue back, also when nobody takes it."""

    def __init__(self, lines: AsyncIterator[str], running: Running) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._running.close()


async def _streamed(asked: ChatRequest, running: Running) -> Response:
    """A stream; what goes wrong before its first piece is an error with a status."""
    pieces = running.pieces(asked.n or 1)
    first = await anext(pieces)  # raises what is wrong with the request
    return _Events(_lines(asked, running, first, pieces), running)


async def _lines(
    asked: ChatRequest, running: Running, first: Piece, pieces: AsyncIterator[Piece]
) -> AsyncIterator[str]:
    """Server-sent events."""
    head = _object(asked, running, "chat.completion.chunk")
    for index in range(asked.n or 1):
        yield _line(head | {"choices": [_delta(index, {"role": "assistant", "content": ""})]})
    tokens = 0  # of all answers
    try:
        piece: Piece | None = first
        while piece is not None:
            tokens += piece.tokens
            delta = _delta(piece.index, {"content": piece.text})
            delta["logprobs"] = logprobs_of(piece.marks)
            # The last piece of an answer is often empty.
            if piece.text or piece.marks:
                yield _line(head | {"choices": [delta]})
            if piece.reason is not None:
                yield _line(head | {"choices": [_delta(piece.index, {}, piece.reason)]})
            piece = await anext(pieces, None)
    except Exception as error:
        if not isinstance(error, PaveError):
            logger.exception("a stream failed")
        # The status has been sent; clients look for an error in the stream.
        yield _line(body_of(error))
        return
    if asked.stream_options is not None and asked.stream_options.include_usage:
        counts = usage(running.started.prompt, tokens, running.started.cached)
        yield _line(head | {"choices": [], "usage": counts})
    yield "data: [DONE]\n\n"


def _delta(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}


def _line(thing: dict[str, Any]) -> str:
    return f"data: {json.dumps(thing, ensure_ascii=False)}\n\n"
