"""Nobody gets anything before it is known who asks: pages, scripts and websockets alike.

A link of an invitation is exchanged for a cookie, and is gone from the address bar. A websocket is looked at with every
message: it ends as soon as its person may no longer come in, or may do less than when it began.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from kthink_core.access.entrance import PAGE, leads_to, posted_token
from kthink_core.access.gate import COOKIE, Asking, Gate, Refused
from kthink_core.access.person import Person

PARAMETER = "invite"
"""Of a query: the token of an invitation, in links of a version before they had it behind the `#`."""
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
HEALTH = "/_stcore/health"
PROGRAMS = "/api/"
"""What lies below it answers programs: a token says who asks, and a refusal is JSON."""
_WANTED = "kthink_wanted"
"""Cookie: what was asked for before signing in."""
_PLACE = re.compile(r"\./[a-z]{1,20}(\?[A-Za-z0-9%&=._~*+-]{1,2000})?", re.ASCII)
"""A page of the app with its query, relative: it leads nowhere else."""
_SIGNING_IN = 900
"""Seconds that it may take."""
_NOT_ALLOWED = 1008
"""Why a websocket ends: RFC 6455, policy violation."""


class Admission:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        gate: Gate,
        base: str = "",
        login: Callable[[], str] | None = None,
        open_paths: tuple[str, ...] = (),
        is_for_owners: Callable[[bytes], bool] = lambda message: False,
    ) -> None:
        """`base`: the path that the app lies under, as `/kthink`. `login`: where one signs in, a new address each
        time. `open_paths`: below `base`, for whoever is about to sign in. `is_for_owners`: of a websocket's message,
        which goes no further where somebody else sends it."""
        self._app, self._gate, self._base, self._login = app, gate, base, login
        self._is_for_owners = is_for_owners
        self._open = {base + path for path in (HEALTH, *open_paths)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self._open:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            answer = await self._invited(scope, receive) or self._answer(scope)
            await (answer or self._app)(scope, receive, send)

    async def _invited(self, scope: Scope, receive: Receive) -> Response | None:
        """The page that a link of an invitation opens, and what it posts; None for anything else."""
        place = leads_to(scope["path"], self._base)
        if place is None or "invitations" not in self._gate.ways:
            return None
        if scope["method"] in ("GET", "HEAD"):
            return HTMLResponse(_page(PAGE), headers={"cache-control": "no-store"})
        asked = HTTPConnection(scope)
        if scope["method"] != "POST":
            return PlainTextResponse("GET or POST\n", 405)
        token = await posted_token(receive)
        if token is None:
            return PlainTextResponse("this is longer than any link of an invitation\n", 413)
        return self._entered(scope, asked, token, f"../{place}", self._gate.person(asking(asked)))

    def _answer(self, scope: Scope) -> Response | None:
        """What is answered in the app's place; None where it may answer itself."""
        asked = HTTPConnection(scope)
        if scope["path"] == self._base + SIGN_OUT:
            return self._signed_out()
        if scope["path"] == self._base + SIGN_IN and self._login is not None:
            return RedirectResponse(self._login(), 303, {"cache-control": "no-store"})
        for_programs = self._is_for_programs(scope)
        found = self._arrived(asking(asked, bearer=for_programs))
        if for_programs:
            return self._refusal(scope, found) if isinstance(found, Refused) else None
        if isinstance(found, Person) and (wanted := self._wanted(scope, asked)):
            answer = RedirectResponse(wanted, 303, {"cache-control": "no-store"})
            answer.delete_cookie(_WANTED, path=self._base or "/", httponly=True, samesite="lax")
            return answer
        token = asked.query_params.get(PARAMETER)
        if token is not None and scope["method"] in ("GET", "HEAD"):
            return self._entered(scope, asked, token, _last(scope), found)
        return self._refusal(scope, found) if isinstance(found, Refused) else None

    def _arrived(self, asked_by: Asking) -> Person | Refused:
        """Who asks; the audit log tells of whom a provider or a proxy vouches for."""
        found = self._gate.person(asked_by)
        if self._gate.audit is not None and isinstance(found, Person) and found.way in ("oidc", "proxy"):
            self._gate.audit.arrival(found, found.way, asked_by.address)
        return found

    def _entered(self, scope: Scope, asked: HTTPConnection, token: str, to: str, now: Person | Refused) -> Response:
        """What the link leads to, with the query that it has, and a cookie; who is signed in otherwise stays so."""
        answer = RedirectResponse(to + _query(scope), 303, {"cache-control": "no-store"})
        if isinstance(now, Person) and now.way != "invitation":
            return answer
        found = self._gate.accept(token)
        if isinstance(found, Refused):
            return self._refusal(scope, found)
        left = max(0, int((found.expires or 0) - time.time()))
        path = self._base or "/"
        answer.set_cookie(COOKIE, self._gate.cookie(token), left, path=path, httponly=True, samesite="lax")
        if self._gate.audit is not None:
            self._gate.audit.write("sign-in", found, way=found.way, address=_address(asked))
        return answer

    def _wanted(self, scope: Scope, asked: HTTPConnection) -> str | None:
        """What somebody had asked for before they signed in, which leads to the start."""
        wanted = asked.cookies.get(_WANTED, "")
        at_start = scope["path"] == f"{self._base}/" and not scope["query_string"]
        return wanted if at_start and self._login is not None and _PLACE.fullmatch(wanted) else None

    def _signed_out(self) -> Response:
        answer = HTMLResponse(_page("<p>You are signed out.</p>"), headers={"cache-control": "no-store"})
        answer.delete_cookie(COOKIE, path=self._base or "/", httponly=True, samesite="lax")
        return answer

    def _refusal(self, scope: Scope, refused: Refused) -> Response:
        if self._gate.audit is not None:
            self._gate.audit.refusal(
                refused.status, refused.reason, _address(HTTPConnection(scope)), path=scope["path"]
            )
        headers = {"cache-control": "no-store"}
        if self._is_for_programs(scope):
            return JSONResponse({"detail": refused.reason}, refused.status, headers | {"www-authenticate": "Bearer"})
        if self._login is None or "text/html" not in Headers(scope=scope).get("accept", ""):
            return PlainTextResponse(f"{refused.reason}\n", refused.status, headers)
        sign_in = f'<a href="{html.escape(self._base + SIGN_IN)}">Sign in</a>'
        answer = HTMLResponse(_page(f"<p>{html.escape(refused.reason)}. {sign_in}</p>"), refused.status, headers)
        place = _last(scope) + _query(scope)
        if scope["method"] == "GET" and _PLACE.fullmatch(place):
            path = self._base or "/"
            answer.set_cookie(_WANTED, place, _SIGNING_IN, path=path, httponly=True, samesite="lax")
        return answer

    def _is_for_programs(self, scope: Scope) -> bool:
        return scope["type"] == "http" and scope["path"].startswith(self._base + PROGRAMS)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked_by = asking(HTTPConnection(scope))
        person = self._arrived(asked_by)
        if isinstance(person, Refused):
            if self._gate.audit is not None:
                self._gate.audit.refusal(person.status, person.reason, asked_by.address, path=scope["path"])
            await send({"type": "websocket.close", "code": _NOT_ALLOWED})  # to the browser a 403
            return
        ended = False

        async def ends() -> bool:
            nonlocal ended
            if not ended and self._gate.person(asked_by) != person:
                ended = True
                if self._gate.audit is not None:
                    self._gate.audit.refusal(401, "ended a visit under way", asked_by.address, person)
                await send({"type": "websocket.close", "code": _NOT_ALLOWED})
            return ended

        async def received() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                if await ends():
                    return {"type": "websocket.disconnect", "code": _NOT_ALLOWED}
                if person.may("owner") or not self._is_for_owners(message.get("bytes") or b""):
                    return message
                if self._gate.audit is not None:
                    self._gate.audit.refusal(403, "sent what is for owners only", asked_by.address, person)

        async def sent(message: Message) -> None:
            if message["type"] == "websocket.send" and await ends():
                raise WebSocketDisconnect(_NOT_ALLOWED)
            if message["type"] != "websocket.close" or not ended:
                await send(message)

        await self._app(scope, received, sent)


def _page(content: str) -> str:
    """A page of some HTML, which asks for no icon: there is none for strangers."""
    head = '<meta charset="utf-8"><title>kthink</title><link rel="icon" href="data:,">'
    return f'<!doctype html><html lang="en">{head}{content}</html>\n'


def asking(asked: HTTPConnection, bearer: bool = False) -> Asking:
    """What of a connection may say who asks; `bearer`: its token, too."""
    kind, _, token = asked.headers.get("authorization", "").partition(" ")
    sent = token.strip() if bearer and kind.lower() == "bearer" else ""
    return Asking(asked.cookies, asked.headers.getlist, _address(asked), sent)


def _address(asked: HTTPConnection) -> str:
    return asked.client.host if asked.client else ""


def _last(scope: Scope) -> str:
    """The last part of the address that was asked for, relative to it: it leads nowhere else, whatever a proxy has cut
    off."""
    return f"./{quote(scope['path'].rpartition('/')[2], safe='')}"


def _query(scope: Scope) -> str:
    """The query of the address, without a token."""
    query = [
        pair for pair in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if pair[0] != PARAMETER
    ]  # fmt: skip
    return f"?{urlencode(query)}" if query else ""
