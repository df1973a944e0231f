"""Refuse a caller without the token before anything of its request is looked at."""

from __future__ import annotations

import secrets

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class TokenCheck:
    """ASGI middleware: on every path a caller sends `token` as a bearer token, or is answered with status 401."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._wanted = f"Bearer {token.get_secret_value()}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        given = b"" if scope["type"] == "lifespan" else Headers(scope=scope).get("authorization", "").encode("latin-1")
        if scope["type"] == "lifespan" or secrets.compare_digest(given, self._wanted):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        detail = "send the worker's token (KTHINK_WORKER_TOKEN) as a bearer token"
        await JSONResponse({"detail": detail}, 401, {"WWW-Authenticate": "Bearer"})(scope, receive, send)
