"""What people did and were refused, one JSON object a line, in a file that is rotated. Never a token, never a text."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from kthink_core.access.person import Person
from kthink_core.access.request_rate import RequestRate
from kthink_core.access.secret_key import access_folder

FILE = "audit.jsonl"
_LOCK_PATIENCE = 1.0
_AN_HOUR = 3600.0
"""Once in it is told who comes anew with each request."""
_LONGEST = 2000
"""Characters of a fact."""
log = logging.getLogger("kthink.audit")


class Bounds(NamedTuple):
    bytes: int = 10_000_000
    """Of a file, before the next one begins."""
    files: int = 10
    """Kept, the one that is written included."""
    refusals: int = 120
    """Told a minute, of a person or, where none is known, an address: who is refused may ask as often as they like."""


class AuditLog:
    """For threads and processes. What cannot be written is told in the server's own log; it stops nobody."""

    def __init__(self, cache: Path, bounds: Bounds | None = None) -> None:
        self.path = access_folder(cache) / FILE
        self._bounds = bounds or Bounds()
        self._refusals = RequestRate(self._bounds.refusals)
        self._arrivals = RequestRate(1, _AN_HOUR)

    def write(self, event: str, person: Person | None = None, **facts: str | float | None) -> None:
        """`event`: sign-in, refusal, prompt, note, … `facts`: what is no secret."""
        who = {} if person is None else {"person": person.id, "name": person.name, "role": person.role}
        told = {name: value[:_LONGEST] if isinstance(value, str) else value for name, value in facts.items()}
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event} | who | told)
        try:
            with FileLock(self.path.with_name(f"{FILE}.lock"), timeout=_LOCK_PATIENCE):
                self._rotate()
                with os.fdopen(os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as opened:
                    opened.write(line + "\n")
        except (OSError, Timeout) as error:
            log.error("the audit log %s cannot be written: %s", self.path, error)

    def arrival(self, person: Person, way: str, address: str) -> None:
        """Somebody is here, whom others vouch for or whose program sends a token: told at a sign-in of theirs that was
        not told yet, and once an hour."""
        if not self._arrivals.wait(f"{person.id} {person.expires}"):
            self.write("sign-in", person, way=way, address=address)

    def refusal(self, status: int, reason: str, address: str, person: Person | None = None, **facts: str) -> None:
        """Somebody was refused. So many of one person, or address, a minute are written."""
        if not self._refusals.wait(person.id if person else address):
            self.write("refusal", person, status=status, reason=reason, address=address, **facts)

    def _rotate(self) -> None:
        """`audit.jsonl` becomes `audit.jsonl.1`, that one `.2`, and so on."""
        if not self.path.exists() or self.path.stat().st_size < self._bounds.bytes:
            return
        older = [self.path, *(self.path.with_name(f"{FILE}.{number}") for number in range(1, self._bounds.files))]
        for newer, to in reversed(list(pairwise(older))):
            if newer.exists():
                newer.replace(to)
