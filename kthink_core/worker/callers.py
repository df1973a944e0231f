"""Who asks the worker: whoever has its token, or a person for whom the app asks, who may do less."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fastapi import HTTPException, Request
from pydantic import BaseModel, SecretStr

from kthink_core.access.person import LOCAL, Person, Role
from kthink_core.access.signatures import PersonTokens
from kthink_core.errors import UnknownName
from kthink_core.live.client import PERSON_HEADER

CLIENT_HEADER = "x-kthink-client"
"""Tells one visitor of an app from another: the app asks for all of them from one address."""


class Caller(NamedTuple):
    """Who asks, and by what name limits count."""

    client: str
    person: Person = LOCAL
    """`LOCAL`: whoever has the token, or reaches a worker that has none."""

    def require(self, role: Role, doing: str) -> None:
        """Raises NotAllowed."""
        self.person.require(role, doing)

    def check_experiments(self, asked: BaseModel) -> None:
        """Raises HTTPException 404 where a request names an experiment that there is not for this person, whether it
        exists or not."""
        for name in named_experiments(asked):
            if not self.person.sees(name):
                raise HTTPException(404, str(UnknownName("experiment", name, self.person.experiments or ())))

    def owns(self, other: Caller) -> bool:
        """Whether what another has asked for is this one's to see, keep and cancel."""
        return self.person.may("owner") or self.person.id == other.person.id


def caller(request: Request, token: SecretStr | None) -> Caller:
    """Raises HTTPException 401 for a person whom nobody signed for."""
    address = request.client.host if request.client else ""
    given = request.headers.getlist(PERSON_HEADER)
    if not given:
        return Caller(f"{address} {request.headers.get(CLIENT_HEADER, '')[:64]}")
    person = PersonTokens(token.get_secret_value()).read(given[0]) if token and len(given) == 1 else None
    if person is None:
        raise HTTPException(401, "the app's word for who asks does not count: it is old, or signed by another token")
    return Caller(f"person {person.id}", person)


def named_experiments(asked: object) -> Iterator[str]:
    """Every experiment that a request names, at whatever depth."""
    if isinstance(asked, BaseModel):
        for name in type(asked).model_fields:
            value = getattr(asked, name)
            if name == "experiment" and isinstance(value, str):
                yield value
            else:
                yield from named_experiments(value)
    elif isinstance(asked, tuple):
        for part in asked:
            yield from named_experiments(part)
