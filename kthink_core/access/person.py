"""Who asks, and what that allows: four roles, each of which may do what the ones before it may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kthink_core.errors import NotAllowed

Role = Literal["viewer", "annotator", "runner", "owner"]
ROLES: tuple[Role, ...] = ("viewer", "annotator", "runner", "owner")
"""viewer: browse and download; annotator: write labels and notes; runner: have the worker compute; owner: all."""

Way = Literal["open", "invitation", "oidc", "proxy"]
"""How somebody came in; open: nobody was asked."""


@dataclass(frozen=True)
class Person:
    """Somebody, as far as the server has made sure of it."""

    id: str
    """Tells persons apart, in limits and the audit log: `invitation 3fa4`, `oidc ISSUER SUBJECT`, `proxy anna@lab`."""
    name: str
    """Signs notes and kept runs; empty where nobody was asked."""
    role: Role
    experiments: tuple[str, ...] | None = None
    """The only ones that there are for this person; None: all."""
    way: Way = "open"
    expires: float | None = None
    """Seconds since 1970 after which this person has to come in again; None: never."""

    def may(self, role: Role) -> bool:
        """Whether this role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)

    def require(self, role: Role, doing: str) -> None:
        """Raises NotAllowed unless this role includes `role`; `doing`: what is wanted, as in 'writing notes'."""
        if not self.may(role):
            raise NotAllowed(doing, self.role, role)

    def sees(self, experiment: str) -> bool:
        return self.experiments is None or experiment in self.experiments


LOCAL = Person(id="open", name="", role="owner")
"""Whoever reaches an app that asks nobody, such as the one on a laptop."""
