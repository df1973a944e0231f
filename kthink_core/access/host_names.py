"""Answer under known names only, so that a web page elsewhere cannot pass for this one.

A page of another site may be shown this machine's address under a name of its own (DNS rebinding): the browser then
takes both for one site, and only the Host header tells. For websockets browsers ask no leave of the server at all;
their Origin header says which page opens one.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from kthink_core.access.once_a_minute import OnceAMinute

log = logging.getLogger("kthink.host_names")
log.addFilter(OnceAMinute())


class HostNames:
    """ASGI middleware. Known are `localhost`, addresses in digits, about which no name server can lie, the host that
    the server listens on, and names that its operator gave it."""

    def __init__(self, app: ASGIApp, listens_on: str | None, remedy: str, given: Iterable[str] = ()) -> None:
        """`remedy`: what the answer to a request under another name says to do."""
        self._app, self._remedy = app, remedy
        self._given = {name.lower() for name in given}
        self._known = self._given | {"localhost", (listens_on or "").lower()} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers, websocket = Headers(scope=scope), scope["type"] == "websocket"
        host, origin = headers.get("host", ""), headers.get("origin") if websocket else None
        if not self._knows(_name(host)) or (origin is not None and not self._is_ours(origin, host)):
            log.warning("refused a request with Host %.200r and Origin %.200r; %s", host, origin, self._remedy)
            if websocket:
                await send({"type": "websocket.close", "code": 1008})  # to the browser a 403: the server's log says why
            else:
                await PlainTextResponse(f"not served under this name; {self._remedy}\n", 400)(scope, receive, send)
            return
        if origin is not None:
            scope = dict(scope)  # Streamlit compares the two: where a proxy changed the Host, it gets the page's
            MutableHeaders(scope=scope)["host"] = urlsplit(origin).netloc
        await self._app(scope, receive, send)

    def _knows(self, name: str) -> bool:
        return name in self._known or _is_address(name)

    def _is_ours(self, origin: str, host: str) -> bool:
        """Whether a page of this origin is this server's own. A proxy may pass on another Host than the page has, so a
        given name will do; another port of `localhost` will not: something else listens there."""
        netloc = _netloc(origin)
        return netloc != "" and (netloc == host.lower() or _name(netloc) in self._given)


def _netloc(origin: str) -> str:
    """Host and port of an origin; empty where it has none, or is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name(netloc: str) -> str:
    """The host without its port; empty where that is none."""
    try:
        parts = urlsplit(f"//{netloc}")
        plain = parts.netloc == netloc and "@" not in netloc and (parts.port is None or parts.port > 0)
    except ValueError:  # no number for a port, half a bracket
        return ""
    return (parts.hostname or "").removesuffix(".") if plain else ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
