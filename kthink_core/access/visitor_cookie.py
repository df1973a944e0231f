"""A random id in a cookie: by it alone a browser finds its own live runs again."""

from __future__ import annotations

import hashlib
import re
import secrets

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kthink_core.access.admission import PROGRAMS
from kthink_core.access.person import Person

COOKIE = "kthink_visitor"
_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
"""256 random bits."""


def new_visitor() -> str:
    """An id that nobody has."""
    return secrets.token_urlsafe(32)


def is_visitor(given: object) -> bool:
    """Whether a cookie holds what this app puts there; nobody else can know one that it gave to another."""
    return isinstance(given, str) and _ID.fullmatch(given) is not None


def owner_of(visitor: str, person: Person) -> str:
    """Whose something is, by browser and person both: neither alone is enough. A digest, so that what is stored tells
    nobody the id that a cookie has."""
    return hashlib.sha256(f"{visitor}\n{person.id}".encode()).hexdigest()


class VisitorCookie:
    """ASGI middleware: each page that is loaded brings the cookie, an old one again, so that it lasts from then on."""

    def __init__(self, app: ASGIApp, base: str = "", days: float = 7) -> None:
        """`base`: the path that the app lies under, as `/kthink`. `days`: how long the cookie lasts."""
        self._app, self._base, self._seconds = app, base, int(days * 86_400)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_page(scope):
            await self._app(scope, receive, send)
            return
        # As browsers have them: what other applications of the same host keep may be in any form.
        given = HTTPConnection(scope).cookies.get(COOKIE, "")
        visitor = given if is_visitor(given) else new_visitor()

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                headers = MutableHeaders(scope=message)
                path = self._base or "/"
                headers.append(
                    "set-cookie",
                    f"{COOKIE}={visitor}; Max-Age={self._seconds}; Path={path}; HttpOnly; SameSite=Lax",
                )
                headers["cache-control"] = "private, no-cache"  # no proxy gives one browser's cookie to another
            await send(message)

        await self._app(scope, receive, told)

    def _is_page(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].startswith(self._base + PROGRAMS):
            return False
        return "text/html" in Headers(scope=scope).get("accept", "")
