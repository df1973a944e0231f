"""The page that draws the interface's description and tries it: Swagger UI, from a package, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""No script but those of this server, none that stands in the page, none that is made of text."""
_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kthink API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/api_docs.js"></script>
</html>
"""


def _package() -> Path:
    """Where Swagger UI lies. fastapi_offline itself is not imported: its files are all that is wanted."""
    found = find_spec("fastapi_offline")
    assert found is not None and found.origin is not None, "it is one of the requirements"
    return Path(found.origin).parent / "static"


def docs() -> APIRouter:
    """The page and its files, below `/docs`; it wants the description at `/openapi.json`."""
    router = APIRouter(include_in_schema=False)
    files = {name: _package() / name for name in ("swagger-ui.css", "swagger-ui-bundle.js")}
    files["api_docs.js"] = Path(__file__).with_name("api_docs.js")

    @router.get("/docs")
    async def drawn() -> HTMLResponse:
        return HTMLResponse(_HTML, headers={"content-security-policy": _POLICY})

    for name, path in files.items():
        router.add_api_route(f"/docs/{name}", _sender(path))
    return router


def _sender(path: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def sent() -> FileResponse:
        return FileResponse(path)

    return sent
