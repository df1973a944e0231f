"""Who asks: the one place that makes a person of a request, at its arrival and again wherever it matters."""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kthink_core.access.audit_log import AuditLog
from kthink_core.access.invitations import Invitation, Invitations
from kthink_core.access.once_a_minute import OnceAMinute
from kthink_core.access.person import LOCAL, Person
from kthink_core.access.role_rules import RoleRules
from kthink_core.access.signatures import Signatures
from kthink_core.errors import BadFile
from kthink_core.settings import Access, Network

log = logging.getLogger("kthink.gate")
log.addFilter(OnceAMinute())

COOKIE = "kthink_invitation"


class Asking(NamedTuple):
    """What of a request may say who asks."""

    cookies: Mapping[str, str]
    header: Callable[[str], Sequence[str]]
    """All values of a header."""
    address: str
    """The machine at the other end of the connection: no header says it."""
    bearer: str = ""
    """The token of an invitation that a program sends with each request; empty where there is none."""


class Refused(NamedTuple):
    """Why nobody is let in."""

    status: int
    """401: nobody is known; 403: somebody is, who has no role here."""
    reason: str


NOBODY = Refused(401, "sign in, or open a link of an invitation")


class Gate:
    """For threads. Without any way to come in, everybody is `LOCAL`."""

    def __init__(
        self,
        ways: Sequence[Access],
        audit: AuditLog | None = None,
        invitations: Invitations | None = None,
        signatures: Signatures | None = None,
        rules: RoleRules | None = None,
        proxies: Sequence[Network] = (),
        proxy_header: str = "",
        identity: Callable[[Mapping[str, str]], Mapping[str, Any] | None] = lambda cookies: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`identity`: the claims that cookies hold, whose signature it has checked; their expiry is checked here."""
        self.ways, self.audit = tuple(ways), audit
        self._invitations, self._signatures, self._rules = invitations, signatures, rules
        self._proxies, self._proxy_header = proxies, proxy_header
        self._identity, self._now = identity, now

    def person(self, asking: Asking) -> Person | Refused:
        """Who asks, as things stand now."""
        if not self.ways:
            return LOCAL
        refused = NOBODY
        # What others vouch for goes before a link, which may be anybody's.
        for way, find in (("proxy", self._proxied), ("oidc", self._signed_in), ("invitations", self._invited)):
            if way not in self.ways:
                continue
            try:
                found = find(asking)
            except (BadFile, OSError) as error:
                log.error("nobody is let in by way of %s: %s", way, error)
                found = Refused(503, "who may come in cannot be read: the server's log says why")
            if isinstance(found, Person):
                return found
            refused = found or refused
        return refused

    def accept(self, token: str) -> Person | Refused:
        """Whom the token of a link lets in."""
        if "invitations" not in self.ways or self._signatures is None:
            return NOBODY
        try:
            return self._holder(self._signatures.of_link(token)) or Refused(401, "this link is none of an invitation")
        except (BadFile, OSError) as error:
            log.error("nobody is let in by a link: %s", error)
            return Refused(503, "who may come in cannot be read: the server's log says why")

    def cookie(self, token: str) -> str:
        """What stands in the cookie of whoever came with a link that was accepted."""
        assert self._signatures is not None
        return self._signatures.cookie(self._signatures.of_link(token) or "")

    def _invited(self, asking: Asking) -> Person | Refused | None:
        assert self._signatures is not None
        if asking.bearer:
            return self._holder(self._signatures.of_link(asking.bearer)) or Refused(401, "no invitation has this token")
        given = asking.cookies.get(COOKIE)
        return self._holder(self._signatures.of_cookie(given)) if given else None

    def _holder(self, id: str | None) -> Person | Refused | None:
        assert self._invitations is not None
        found: Invitation | None = self._invitations.find(id) if id else None
        if found is None:
            return None
        state = found.state(self._now())
        return found.person if state == "valid" else Refused(401, f"this invitation is {state}: ask for another")

    def _signed_in(self, asking: Asking) -> Person | Refused | None:
        assert self._rules is not None
        claims = self._identity(asking.cookies)
        if not claims:
            return None
        subject, issuer, expires = claims.get("sub"), claims.get("iss"), claims.get("exp")
        if not isinstance(subject, str) or not isinstance(issuer, str) or not isinstance(expires, int | float):
            return Refused(401, "the provider's answer lacks sub, iss or exp: sign in again")
        if self._now() >= expires:
            return Refused(401, "your sign-in has expired: sign in again")
        email = claims.get("email")
        email = email if isinstance(email, str) else ""
        verified = claims.get("email_verified") in (True, "true")
        allowed = self._rules.of(email, verified, claims)
        if allowed is None:
            return Refused(403, "you are signed in, and have no role here: ask who runs this app")
        name = self._rules.owned(email, verified) or subject  # signs notes, and takes back those of that name
        return Person(f"oidc {issuer} {subject}", name, *allowed, "oidc", float(expires))

    def _proxied(self, asking: Asking) -> Person | Refused | None:
        assert self._rules is not None
        try:
            address = ipaddress.ip_address(asking.address)
        except ValueError:
            return None
        if not any(address in network for network in self._proxies):
            return None  # whoever else sends the header made it up
        given = asking.header(self._proxy_header)
        if len(given) != 1 or not given[0].strip() or not given[0].isprintable():
            return None
        email = given[0].strip()
        allowed = self._rules.of(email, True, {})
        if allowed is None:
            return Refused(403, "you are signed in, and have no role here: ask who runs this app")
        return Person(f"proxy {email.casefold()}", email, *allowed, "proxy")
