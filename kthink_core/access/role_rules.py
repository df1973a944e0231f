"""Which role an identity has that somebody else vouches for: the rules of a TOML file, read again when it changes.

[[allow]]
email = "anna@lab.example"     # or: domain = "lab.example"; or: claim = "groups", value = "kthink"
role = "runner"
experiments = ["demo"]         # only these; without it all
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from kthink_core.access.person import Role
from kthink_core.access.watched_file import WatchedFile
from kthink_core.errors import BadFile

_MOST_BYTES = 1_000_000


class Rule(BaseModel):
    """Who is meant, by exactly one of e-mail, domain and claim, and what they may."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    email: str | None = None
    domain: str | None = None
    """Of the e-mail; not those below it."""
    claim: str | None = None
    value: str | None = None
    """What the claim is, or has among its values."""
    role: Role
    experiments: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(given is not None for given in (self.email, self.domain, self.claim)) != 1:
            raise ValueError("give one of email, domain and claim")
        if (self.claim is None) != (self.value is None):
            raise ValueError("claim and value belong together")
        return self

    def is_meant(self, email: str, claims: Mapping[str, Any]) -> bool:
        """`email`: one that the identity is known to own; else empty."""
        if self.claim is not None:
            given = claims.get(self.claim)
            return self.value in given if isinstance(given, list | tuple) else self.value == given
        if not email:
            return False
        if self.email is not None:
            return email.casefold() == self.email.casefold()
        return email.rpartition("@")[2].casefold() == str(self.domain).casefold()


class _Rules(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    allow: tuple[Rule, ...] = ()
    unverified_email: bool = False
    """Believe e-mails of a provider that does not say it has verified them."""


class Allowed(NamedTuple):
    role: Role
    experiments: tuple[str, ...] | None


class RoleRules:
    """For threads. Raises BadFile, OSError where the file cannot be used: nobody is let in by it then."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path, _read)

    def owned(self, email: str, verified: bool) -> str:
        """The e-mail, where the identity is believed to own it; else empty."""
        return email if verified or self._file.content().unverified_email else ""

    def of(self, email: str, verified: bool, claims: Mapping[str, Any]) -> Allowed | None:
        """What the first rule says that means this identity; None where none does."""
        known = self.owned(email, verified)
        found = next((rule for rule in self._file.content().allow if rule.is_meant(known, claims)), None)
        return found and Allowed(found.role, found.experiments)


def _read(path: Path) -> _Rules:
    with path.open("rb") as opened:
        text = opened.read(_MOST_BYTES)
    try:
        return _Rules.model_validate(tomllib.loads(text.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadFile(path, f"no TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BadFile(path, f"{where}: {first['msg'].removeprefix('Value error, ')}") from error
