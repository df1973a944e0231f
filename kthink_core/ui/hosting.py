"""The app as Streamlit serves it, with `up` or by `streamlit run`: for those who may come in, under known names only,
its connections bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from starlette.middleware import Middleware
from starlette.routing import BaseRoute, Mount
from streamlit import config

from kthink_core.access.admission import PROGRAMS, Admission
from kthink_core.access.body_limit import BodyLimit
from kthink_core.access.connections import bound
from kthink_core.access.exposure import check_app_exposure
from kthink_core.access.host_names import HostNames
from kthink_core.access.refusal_log import RefusalLog
from kthink_core.access.security_headers import SecurityHeaders
from kthink_core.access.visitor_cookie import VisitorCookie
from kthink_core.errors import KthinkError, in_words
from kthink_core.programs.http_api import PATH, elsewhere, make_api
from kthink_core.settings import AccessSettings, HistorySettings, Settings, from_environment
from kthink_core.ui import sign_in
from kthink_core.ui.live import history
from kthink_core.ui.messages import is_for_owners

MOST_BYTES = 1_000_000
"""Longest body of a request: what pages are told comes by websocket."""

_SWEEPS = 3600.0
"""Seconds between two looks for live runs that are over."""
_REFUSED = (400, 405, 413)
"""What is refused to a request whoever asks; who may not ask is told by `Admission` itself."""


def middleware() -> list[Middleware]:
    """What a request passes before Streamlit sees it. Ends the process where a setting is wrong.

    Streamlit's own `server.allowedHosts` looks at websockets only, and its check of their origin takes those of all
    servers of this machine, and asks the internet for this machine's address.
    """
    listens_on, remedy = config.get_option("server.address"), "names that the app goes by belong into KTHINK_APP_NAMES"
    try:
        names, access = from_environment(Settings).app_names, from_environment(AccessSettings)
        days = from_environment(HistorySettings).days
        check_app_exposure(listens_on, access)
        audit = sign_in.gate().audit
        passed = [
            Middleware(SecurityHeaders, secure=(access.app_url or "").startswith("https:")),
            *([Middleware(RefusalLog, audit=audit, statuses=_REFUSED)] if audit is not None else []),
            Middleware(HostNames, listens_on=listens_on, remedy=remedy, given=names),
            *([_admission(access)] if access.access else []),
            *([Middleware(VisitorCookie, base=_base(), days=days)] if days else []),
            Middleware(BodyLimit, most=MOST_BYTES),
        ]
    except (KthinkError, OSError) as error:
        raise SystemExit(f"kthink: {in_words(error)}") from error
    return passed


def routes() -> list[BaseRoute]:
    """What there is beside the pages: the interface for programs. Ends the process where a setting is wrong."""
    try:
        interface = Mount(_base() + PATH, make_api(from_environment(Settings).cache, sign_in.gate()))
    except (KthinkError, OSError) as error:
        raise SystemExit(f"kthink: {in_words(error)}") from error
    return [interface, Mount(_base() + PROGRAMS.rstrip("/"), elsewhere())]


def _base() -> str:
    """The path that the app lies under, such as `/kthink`; empty where it has a host of its own."""
    return ("/" + str(config.get_option("server.baseUrlPath") or "").strip("/")).rstrip("/")


def _admission(access: AccessSettings) -> Middleware:
    """Raises BadValue, BadFile, OSError."""
    by_provider = "oidc" in access.access
    if by_provider:
        sign_in.check_provider()
    return Middleware(
        Admission,
        gate=sign_in.gate(),
        base=_base(),
        login=sign_in.login if by_provider else None,
        open_paths=sign_in.OPEN_PATHS if by_provider else (),
        is_for_owners=is_for_owners,
    )


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """Runs on the server's loop before it listens."""
    bound(asyncio.get_running_loop())
    sweeping = asyncio.create_task(_sweep())
    try:
        yield
    finally:
        sweeping.cancel()


async def _sweep() -> None:
    """What is too old goes, also where nobody comes."""
    while True:
        with suppress(OSError):  # the next one may be more lucky; nothing that is over is shown
            await asyncio.to_thread(history.shelf().sweep)
        await asyncio.sleep(_SWEEPS)
