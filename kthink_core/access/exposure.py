"""Whether a server would answer other machines, and nobody said who may ask."""

from __future__ import annotations

import ipaddress

from kthink_core.errors import BadValue
from kthink_core.settings import AccessSettings, WorkerSettings


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches it; None, a server's own default, is every address."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def check_worker_exposure(settings: WorkerSettings) -> None:
    """Raises BadValue where the worker would listen to other machines without a token."""
    if settings.token is None and not is_loopback(settings.host):
        raise BadValue(f"the worker would listen on {settings.host} to anybody: set KTHINK_WORKER_TOKEN")


def check_app_exposure(host: str | None, settings: AccessSettings) -> None:
    """Raises BadValue where the app would be open to other machines and nobody asked for that, or where a way to come
    in lacks what it needs."""
    if not settings.access and not settings.open and not is_loopback(host):
        raise BadValue(
            f"the app would listen on {host or 'all addresses'} to anybody: set KTHINK_ACCESS=invitations and hand out "
            "links with `python -m kthink_core invite`, or start with --open (KTHINK_OPEN=1) where anybody may use it"
        )
    if settings.access and settings.open:
        raise BadValue("KTHINK_OPEN (--open) and KTHINK_ACCESS exclude each other: unset one")
    if {"oidc", "proxy"} & set(settings.access) and settings.roles_file is None:
        raise BadValue("KTHINK_ACCESS=oidc and =proxy need KTHINK_ROLES_FILE, a file that says who has which role")
    if "proxy" in settings.access and not settings.proxy:
        raise BadValue("KTHINK_ACCESS=proxy needs KTHINK_PROXY, the address of the proxy whose header is believed")
