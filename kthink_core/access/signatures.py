"""What is given out signed: links and cookies that name an invitation, and what tells the worker who asks.

Each kind has a salt of its own: one is never taken for another.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from functools import lru_cache, partial

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer
from pydantic import TypeAdapter, ValidationError

from kthink_core.access.person import Person

_STRONG = {"digest_method": hashlib.sha256}
_ID: TypeAdapter[str] = TypeAdapter(str)
_PERSON: TypeAdapter[Person] = TypeAdapter(Person)
FRESH = 300
"""Seconds for which the worker believes who asks: longer than clocks of two machines are apart."""
LONGEST = 4096
"""Characters of a token that are looked at."""
_REMEMBERED = 256
"""Cookies whose signature was looked at."""


class Signatures:
    """Of links and cookies, by the app's key."""

    def __init__(self, key: str) -> None:
        self._link = URLSafeSerializer(key, salt="kthink invitation", signer_kwargs=_STRONG)
        self._cookie = URLSafeSerializer(key, salt="kthink cookie", signer_kwargs=_STRONG)
        # Asked with every message that a page is sent: what one text says by one key is always the same.
        self._of_cookie = lru_cache(maxsize=_REMEMBERED)(partial(_id, self._cookie))

    def link(self, invitation: str) -> str:
        """The token of a link, for the id of an invitation."""
        return str(self._link.dumps(invitation))

    def cookie(self, invitation: str) -> str:
        return str(self._cookie.dumps(invitation))

    def of_link(self, token: str) -> str | None:
        """The id of the invitation that a link's token names; None for what this key did not sign as one."""
        return _id(self._link, token)

    def of_cookie(self, token: str) -> str | None:
        return self._of_cookie(token) if len(token) <= LONGEST else None


def _id(serializer: URLSafeSerializer, token: str) -> str | None:
    if len(token) > LONGEST:
        return None
    try:
        return _ID.validate_python(serializer.loads(token), strict=True)
    except (BadData, ValidationError):
        return None


class PersonTokens:
    """What the app tells the worker with each request: who asks. Signed by the token that both have."""

    def __init__(self, shared: str) -> None:
        self._serializer = URLSafeTimedSerializer(shared, salt="kthink person", signer_kwargs=_STRONG)

    def sign(self, person: Person) -> str:
        return str(self._serializer.dumps(asdict(person)))

    def read(self, token: str) -> Person | None:
        """Who it names; None for what is old, or was signed by somebody else."""
        if len(token) > LONGEST:
            return None
        try:
            return _PERSON.validate_python(self._serializer.loads(token, max_age=FRESH))
        except (BadData, ValidationError):
            return None
