"""How people come in, as the settings say: the gate of this app, and Streamlit's own sign-in behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from streamlit import auth_util, user_info
from streamlit.errors import StreamlitAuthError
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from kthink_core.access.audit_log import AuditLog
from kthink_core.access.gate import Gate
from kthink_core.access.invitations import Invitations
from kthink_core.access.role_rules import RoleRules
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.errors import BadValue
from kthink_core.settings import AccessSettings, Settings, from_environment

OPEN_PATHS = ("/auth/login", "/auth/logout", "/oauth2callback")
"""Streamlit's own, for whoever is about to sign in or out."""


def gate() -> Gate:
    """The gate of this app. Raises BadValue where a setting makes no sense, BadFile, OSError."""
    settings = from_environment(AccessSettings)
    return _gate(from_environment(Settings).cache, settings)  # pyright: ignore[reportArgumentType]  # frozen, so hashable


@lru_cache(maxsize=8)
def _gate(cache: Path, settings: AccessSettings) -> Gate:
    if not settings.access:
        return Gate(())
    return Gate(
        settings.access,
        audit=AuditLog(cache),
        invitations=Invitations(cache),
        signatures=Signatures(secret_key(cache, settings.secret_file)),
        rules=None if settings.roles_file is None else RoleRules(settings.roles_file),
        proxies=settings.proxy,
        proxy_header=settings.proxy_header,
        identity=claims,
    )


def check_provider() -> None:
    """Raises BadValue where Streamlit's sign-in lacks a library or a secret."""
    if not auth_util.is_authlib_installed():
        raise BadValue("KTHINK_ACCESS=oidc needs Authlib: pip install -r requirements-auth.txt")
    try:
        auth_util.validate_auth_credentials("default")
    except StreamlitAuthError as error:
        raise BadValue(f"KTHINK_ACCESS=oidc: {' '.join(str(error).split())}") from error


def login() -> str:
    """Where one signs in: what `st.login` leads to."""
    return user_info.generate_login_redirect_url("default")


def claims(cookies: Mapping[str, str]) -> Mapping[str, Any] | None:
    """What the provider said of whoever signed in through Streamlit; None where the cookie is not one of this app's.

    Read from the cookie, at every request: `st.user` keeps what it said when the visit began.
    """
    secret = get_cookie_secret()

    def single(name: str) -> bytes | None:
        given = cookies.get(name)
        return decode_signed_value(secret, name, given) if given else None

    found = auth_util.get_cookie_with_chunks(single, USER_COOKIE_NAME)
    try:
        said = json.loads(found) if found else None
    except ValueError:
        return None
    if not isinstance(said, dict) or said.get("is_logged_in") is not True:
        return None
    return said if said.get("origin") == auth_util.get_origin_from_redirect_uri() else None
