"""The app as Streamlit serves it, with `up` or by `streamlit run`: under known names only, its connections bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.middleware import Middleware
from streamlit import config

from kthink_core.access.connections import bound
from kthink_core.access.host_names import HostNames
from kthink_core.errors import KthinkError
from kthink_core.settings import Settings, from_environment


def middleware() -> list[Middleware]:
    """What a request passes before Streamlit sees it. Ends the process where a setting is wrong.

    Streamlit's own `server.allowedHosts` looks at websockets only, and its check of their origin takes those of all
    servers of this machine, and asks the internet for this machine's address.
    """
    try:
        names = from_environment(Settings).app_names
    except KthinkError as error:
        raise SystemExit(f"kthink: {error}") from error
    listens_on, remedy = config.get_option("server.address"), "names that the app goes by belong into KTHINK_APP_NAMES"
    return [Middleware(HostNames, listens_on=listens_on, remedy=remedy, given=names)]


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """Runs on the server's loop before it listens."""
    bound(asyncio.get_running_loop())
    yield
