"""Every refusal of a server goes into the audit log: which status, of which path, to whom.

Who asks stands in the request's state as `person`, once it is known.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kthink_core.access.audit_log import AuditLog


class RefusalLog:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, audit: AuditLog, statuses: Collection[int]) -> None:
        self._app, self._audit, self._statuses = app, audit, frozenset(statuses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in self._statuses:
                address = scope["client"][0] if scope.get("client") else ""
                person = scope.get("state", {}).get("person")
                self._audit.refusal(message["status"], scope["method"], address, person, path=scope["path"])
            await send(message)

        await self._app(scope, receive, told if scope["type"] == "http" else send)
