"""`invite` and `invitations`: links for those without an account, listed and revoked."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import urlsplit

import pandas as pd

from kthink_core.access.audit_log import AuditLog
from kthink_core.access.invitation_link import invitation_address
from kthink_core.access.invitations import Invitation, Invitations
from kthink_core.access.person import Role
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.arguments import add_cache, cache_of, experiment_name
from kthink_core.errors import UnknownName
from kthink_core.listing import write_table
from kthink_core.settings import AccessSettings, Settings, from_environment
from kthink_core.store.reader import list_experiments

COLUMNS = ("invitation", "name", "role", "experiment", "issued", "expires", "state")


def add_invite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--role", choices=get_args(Role), default="viewer", help="default: viewer")
    parser.add_argument("--days", type=float, default=14.0, metavar="N", help="how long it lasts (default: 14)")
    parser.add_argument("--name", metavar="NAME", help="whom it is for: signs notes (default: guest and a number)")
    parser.add_argument("--experiment", type=experiment_name, metavar="E", help="the only one that it shows")
    parser.add_argument("--view", metavar="LINK", help="what it opens: a link that `Copy link` gave")
    add_cache(parser)
    parser.set_defaults(run=_invite)


def add_invitations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revoke", metavar="ID", help="end one, at once")
    parser.add_argument("--format", choices=("table", "json"), default="table")
    add_cache(parser)
    parser.set_defaults(run=_invitations)


def _invite(options: argparse.Namespace) -> None:
    cache, access = cache_of(options), from_environment(AccessSettings)
    known = [status.name for status in list_experiments(cache)]
    if options.experiment is not None and options.experiment not in known:
        raise UnknownName("experiment", options.experiment, known)
    settings = from_environment(Settings)
    # What is wrong with a link is said before anything is issued.
    address = invitation_address(
        _base(access, settings), options.view or "", options.experiment, settings.base_path,
        elsewhere=access.app_url is None,
    )  # fmt: skip
    invitations, signatures = Invitations(cache), Signatures(secret_key(cache, access.secret_file))
    name = options.name or f"guest {len(invitations.all()) + 1}"
    made = invitations.issue(name, options.role, options.days, options.experiment)
    AuditLog(cache).write("invitation", made.person, invitation=made.id, expires=made.expires)
    print(f"{address}#{signatures.link(made.id)}")
    limit = f", experiment {made.experiment} only" if made.experiment else ""
    print(f"kthink: invitation {made.id} for {made.name}: {made.role}{limit}, until {_time(made.expires)}; whoever has "
          "the link comes in by it", file=sys.stderr)  # fmt: skip
    if "invitations" not in access.access:
        print("kthink: it counts where the app is started with KTHINK_ACCESS=invitations", file=sys.stderr)
    if urlsplit(address).hostname == "localhost":
        print(
            "kthink: the link leads to this machine alone; KTHINK_APP_URL says where others reach the app",
            file=sys.stderr,
        )


def _invitations(options: argparse.Namespace) -> None:
    cache = cache_of(options)
    invitations = Invitations(cache)
    if options.revoke is not None:
        ended = invitations.revoke(options.revoke)
        AuditLog(cache).write("revocation", ended.person, invitation=ended.id)
        print(f"kthink: invitation {ended.id} for {ended.name} is revoked", file=sys.stderr)
        return
    now = time.time()
    rows = [_row(each, now) for each in invitations.all()]
    write_table(pd.DataFrame(rows, columns=list(COLUMNS)), options.format, sys.stdout)


def _row(each: Invitation, now: float) -> tuple[str | None, ...]:
    times = (_time(each.issued), _time(each.expires))
    return (each.id, each.name, each.role, each.experiment, *times, each.state(now))


def _time(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _base(access: AccessSettings, settings: Settings) -> str:
    """Where the app is, for others; without a slash at its end."""
    if access.app_url:
        return access.app_url
    if settings.app_names:
        return f"https://{settings.app_names[0]}{settings.base_path}"
    host = "localhost" if settings.app_host in ("0.0.0.0", "::", "127.0.0.1", "::1") else settings.app_host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.app_port}{settings.base_path}"
