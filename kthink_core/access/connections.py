"""What the connections of a server may hold: bounds on their number and on the time that a request takes to come.

uvicorn has none of these, and Streamlit, which starts one for the app, takes no protocol class of ours. So the bounds
lie between the event loop and whatever protocol a server gives it; worker and app call `bound` before they serve.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Protocol

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from kthink_core.access.once_a_minute import OnceAMinute

log = logging.getLogger("kthink.connections")
log.addFilter(OnceAMinute())

OPEN_FILES = 4096
"""Open files that a server asks the system for, where it may have so many."""
_TICK = 1.0
"""At most so many seconds pass between two looks at a connection."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"
_LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Limits(NamedTuple):
    head: float = 10.0
    """Seconds for a request's line and headers, from the connection or the last answer on."""
    body: float = 30.0
    """Seconds for its body, and without progress for an answer that its client does not read. An answer takes as long
    as it takes, and so does a websocket."""
    connections: int = 1024
    """Most connections at once, websockets included; half as many as files may be open, if that is fewer."""


class _Cycle(Protocol):
    """One request and its answer."""

    more_body: bool
    response_started: bool
    response_complete: bool


class _Http(Protocol):
    """What uvicorn's protocols for HTTP have in common, whichever parser is installed."""

    connections: set[Any]
    """Of the whole server."""
    transport: asyncio.Transport
    """None until the connection is made."""
    app: Any
    config: Any
    cycle: _Cycle
    """The last request whose headers have come; None before the first."""


def bound(loop: asyncio.AbstractEventLoop, limits: Limits | None = None) -> None:
    """Bounds whatever uvicorn serves on `loop` from now on."""
    limits = limits or Limits()
    files = _open_files()
    most = min(limits.connections, files // 2)
    backlog = max(1, min(128, files // 16))  # accepted at once; some more may be open before the first is counted
    create = loop.create_server

    def bounded(make: Callable[[], Any]) -> Callable[[], asyncio.BaseProtocol]:
        def made() -> asyncio.BaseProtocol:
            http = make()
            _believe_no_address(http)
            if len(http.connections) >= most:
                return _Refusal()
            _Patience(http, loop, limits)
            return http

        return made

    async def create_server(make: Callable[[], Any], *args: Any, **options: Any) -> asyncio.Server:
        return await create(bounded(make), *args, **options | {"backlog": backlog})

    # The one place that is asked for every server, Streamlit's too.
    loop.create_server = create_server  # pyright: ignore[reportAttributeAccessIssue]
    loop.set_exception_handler(_told)


def _believe_no_address(http: _Http) -> None:
    """uvicorn takes a caller's address from a header where one of this machine sends it, which Streamlit cannot be told
    to leave: a caller is whoever the connection is from."""
    if isinstance(http.app, ProxyHeadersMiddleware):
        http.app = http.config.loaded_app = http.app.app


def _open_files() -> int:
    """How many files this process may have open, raised as far as it may and needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


class _Refusal(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(_FULL)
        transport.close()


class _Patience:
    """Ends one connection where its client is late with a request, or with reading an answer."""

    def __init__(self, http: _Http, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self._http, self._loop, self._limits = http, loop, limits
        self._tick = min(_TICK, limits.head / 4, limits.body / 4)
        self._awaited: object = (None, True, False, 0)
        self._since = loop.time()
        loop.call_later(self._tick, self._look)

    def _look(self) -> None:
        transport, cycle, now = self._http.transport, self._http.cycle, self._loop.time()
        if transport is None:  # it is being made, which may fail
            if now - self._since < self._limits.head:
                self._loop.call_later(self._tick, self._look)
            return
        if self._http not in self._http.connections or transport.get_protocol() is not self._http:
            return  # it is gone, or a websocket by now: these end by pings
        closing, between = transport.is_closing(), cycle is None or cycle.response_complete
        awaited = (cycle, between, closing, transport.get_write_buffer_size())
        if awaited != self._awaited:
            self._awaited, self._since = awaited, now
        unread = closing or awaited[-1] > 0
        if between and not unread:
            allowed = self._limits.head
        else:
            allowed = self._limits.body if unread or cycle.more_body else inf
        if now - self._since > allowed:
            if unread:
                transport.abort()  # the client has stopped to read an answer: it would wait for ever
                return
            if between or not cycle.response_started:
                transport.write(_LATE)
            transport.close()
        self._loop.call_later(self._tick, self._look)


def _told(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Where no more files can be opened, the loop meets the error a thousand times a second while it accepts."""
    error = context.get("exception")
    if isinstance(error, OSError):
        log.error("an error of the system, told once a minute: %s (%s)", error, context["message"])
    else:
        loop.default_exception_handler(context)
