"""Invitations for those without an account anywhere: issued, listed, revoked, and asked at every request.

The list of those issued decides. A link and a cookie only name an invitation, signed, so that nobody makes up another.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from filelock import FileLock
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from kthink_core.access.person import Person, Role
from kthink_core.access.private_file import write_private
from kthink_core.access.secret_key import access_folder
from kthink_core.access.watched_file import WatchedFile
from kthink_core.config import check_name
from kthink_core.errors import BadFile, BadValue, UnknownName

FILE = "invitations.json"
DAY = 86_400.0
MOST_DAYS = 3650
_LOCK_PATIENCE = 20.0
_MOST_BYTES = 10_000_000
LONGEST_NAME = 80
"""Characters of the name that an invitation is for: a note's author has as many."""


def _experiment(name: str) -> str:
    check_name(name)
    return name


class Invitation(BaseModel):
    """One that was issued. Nothing here is secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    """Whom it is for: signs notes and kept runs."""
    role: Role
    experiment: Annotated[str, AfterValidator(_experiment)] | None = None
    """The only one that it shows."""
    issued: float
    """Seconds since 1970, as are `expires` and `revoked`."""
    expires: float
    revoked: float | None = None

    def state(self, now: float) -> str:
        """`valid`, `expired` or `revoked`."""
        return "revoked" if self.revoked is not None else "expired" if now >= self.expires else "valid"

    @property
    def person(self) -> Person:
        """Whoever comes with it."""
        experiments = None if self.experiment is None else (self.experiment,)
        return Person(f"invitation {self.id}", self.name, self.role, experiments, "invitation", self.expires)


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    invitations: tuple[Invitation, ...] = ()


class Invitations:
    """Those of one cache; for threads and processes. Methods raise BadFile where the list is not what it should be."""

    def __init__(self, cache: Path, now: Callable[[], float] = time.time) -> None:
        self._cache, self._now = cache, now
        self._file = WatchedFile(access_folder(cache) / FILE, _read)

    def all(self) -> tuple[Invitation, ...]:
        """The oldest first."""
        return tuple(self._file.content().values())

    def find(self, id: str) -> Invitation | None:
        return self._file.content().get(id)

    def valid(self, id: str) -> Invitation | None:
        """The one of this id, if it lets somebody in now."""
        found = self.find(id)
        return found if found is not None and found.state(self._now()) == "valid" else None

    def issue(self, name: str, role: Role, days: float, experiment: str | None = None) -> Invitation:
        """A new one. Raises BadValue for a name that a valid one has: its notes would be this one's, too."""
        name, now = " ".join(name.split()), self._now()
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise BadValue(f"the name of an invitation has 1 to {LONGEST_NAME} printable characters")
        if not 0 < days <= MOST_DAYS:
            raise BadValue(f"an invitation lasts for more than 0 and at most {MOST_DAYS} days")
        made = Invitation(
            id=secrets.token_hex(8), name=name, role=role, experiment=experiment, issued=now, expires=now + days * DAY
        )
        with self._changing() as stored:
            for other in stored.values():
                if other.name.casefold() == name.casefold() and other.state(now) == "valid":
                    raise BadValue(f"invitation {other.id} is for '{name}' already: revoke it, or give another name")
            self._write((*stored.values(), made))
        return made

    def revoke(self, id: str) -> Invitation:
        """Ends it at once; one that has ended stays as it is. Raises UnknownName."""
        with self._changing() as stored:
            if id not in stored:
                raise UnknownName("invitation", id, stored)
            if stored[id].revoked is None:
                stored[id] = stored[id].model_copy(update={"revoked": self._now()})
                self._write(stored.values())
            return stored[id]

    def _write(self, invitations: Iterable[Invitation]) -> None:
        write_private(self._file.path, _Stored(invitations=tuple(invitations)).model_dump_json(indent=1) + "\n")

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Invitation]]:
        """What stands in the file, while nobody else writes."""
        path = self._file.path
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=_LOCK_PATIENCE):
            yield dict(_read(path))


def _read(path: Path) -> dict[str, Invitation]:
    """By id; none where nobody was invited yet."""
    try:
        with path.open("rb") as opened:
            text = opened.read(_MOST_BYTES + 1)
    except FileNotFoundError:
        return {}
    if len(text) > _MOST_BYTES:
        raise BadFile(path, f"a list of invitations of more than {_MOST_BYTES:,} bytes")
    try:
        return {each.id: each for each in _Stored.model_validate_json(text).invitations}
    except ValidationError as error:
        raise BadFile(path, f"no list of invitations: {error.errors()[0]['msg']}") from error
