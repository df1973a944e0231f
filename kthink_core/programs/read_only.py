"""Whatever is asked of the interface for programs is a question: other methods than those that read are refused before
anything is looked at, and so is an address that is too long."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = "GET, HEAD, OPTIONS"
MOST_BYTES = 16_384
"""Of a query string."""
HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
    "vary": "Authorization, Cookie",
}
"""Of every answer that has no other."""


class ReadOnly:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        method = scope["method"]
        refused = self._refusal(method, len(scope["query_string"]))
        if refused is not None:
            await refused(scope, receive, told)
        else:  # of the answer to HEAD the server leaves the body out
            await self._app({**scope, "method": "GET"} if method == "HEAD" else scope, receive, told)

    def _refusal(self, method: str, length: int) -> Response | None:
        if method == "OPTIONS":
            return Response(status_code=204, headers={"allow": METHODS})
        if method not in METHODS.split(", "):
            return JSONResponse({"detail": f"this only reads: {METHODS}"}, 405, {"allow": METHODS})
        if length > MOST_BYTES:
            return JSONResponse({"detail": f"the address is longer than {MOST_BYTES} bytes"}, 414)
        return None
