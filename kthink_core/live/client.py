"""The only way of pages and scripts to a worker, on this machine or another. Imports no torch."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import SSEError, connect_sse
from pydantic import BaseModel

from kthink_core.access.person import LOCAL, Person
from kthink_core.access.signatures import PersonTokens
from kthink_core.errors import WorkerLost, WorkerMissing, WorkerRefused
from kthink_core.live.api import (
    ENDS,
    EVENT,
    EncodeRequest,
    Event,
    GenerateRequest,
    Health,
    InjectRequest,
    JobStatus,
    KeepRequest,
    Kept,
    Tokenized,
    TokenizeRequest,
)
from kthink_core.live.study_requests import StudyRequest
from kthink_core.settings import WorkerSettings

_PATIENCE = httpx.Timeout(10, connect=2)
_KEEPING = httpx.Timeout(120, connect=2)
"""The first keep after an upgrade builds the database of all that is kept."""
_STREAMING = httpx.Timeout(None, connect=2, read=60)
"""A job may wait in the queue for long; the worker says so all the while, and pings in between."""

PERSON_HEADER = "x-kthink-person"
"""Names the person for whom the app asks."""

_STRANGE = "what answers there is no worker of this version of kthink"

Answer = TypeVar("Answer", bound=BaseModel)


class WorkerClient:
    """One caller of a worker, for any threads. Close it, or use it as a context.

    What computes or stores something raises NotAllowed where the person's role does not include it.
    """

    def __init__(self, settings: WorkerSettings, client: str = "", person: Person = LOCAL) -> None:
        """`client` tells this caller from others at the same address, as to limits. `person`: for whom it asks; the
        worker is told, and makes sure of it by the token that both have."""
        self.address = settings.address
        headers = {b"x-kthink-client": client.encode()} if client else {}
        if settings.token:
            headers[b"authorization"] = f"Bearer {settings.token.get_secret_value()}".encode()
        self._person = person
        self._tokens = PersonTokens(settings.token.get_secret_value()) if settings.token else None
        self._http = httpx.Client(base_url=self.address, headers=headers, timeout=_PATIENCE, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> Health:
        """Raises WorkerMissing, WorkerRefused."""
        return self._ask(Health, "GET", "/health")

    def tokenize(self, prompt: TokenizeRequest) -> Tokenized:
        """Raises WorkerMissing, WorkerRefused."""
        self._person.require("runner", "trying a prompt")
        return self._ask(Tokenized, "POST", "/tokenize", prompt.model_dump())

    def cancel(self, job: str) -> JobStatus:
        return self._ask(JobStatus, "POST", f"/jobs/{job}/cancel")

    def status(self, job: str) -> JobStatus:
        return self._ask(JobStatus, "GET", f"/jobs/{job}")

    def keep(self, job: str, author: str = "", reference: str | None = None, seen: KeepRequest | None = None) -> Kept:
        """Store what a generation made, graded by the right answer where that is known. `seen`: what is remembered
        beside it. Raises WorkerMissing, WorkerRefused."""
        self._person.require("runner", "keeping a run")
        asked = (seen or KeepRequest()).model_copy(update={"author": author, "reference": reference})
        body = asked.model_dump(mode="json", exclude_defaults=True)  # an older worker knows less
        return self._ask(Kept, "POST", f"/jobs/{job}/keep", body, _KEEPING)

    def delete_kept(self, kept: Kept) -> Kept:
        """Delete a kept run of one's own for good, or, as an owner, anybody's. Raises WorkerMissing, WorkerRefused."""
        self._person.require("runner", "deleting a kept run")
        return self._ask(Kept, "POST", f"/kept/{kept.experiment}/{kept.inference}/delete", {}, _KEEPING)

    def generate(self, request: GenerateRequest) -> Generator[Event, None, None]:
        """The events of a generation; close the iterator to cancel it.

        Raises WorkerMissing, WorkerRefused, WorkerLost.
        """
        return self._events("/generate", request.model_dump())

    def encode(self, request: EncodeRequest) -> Generator[Event, None, None]:
        """The events of an encoding. Raises as `generate` does."""
        return self._events("/encode", request.model_dump())

    def inject(self, request: InjectRequest) -> Generator[Event, None, None]:
        """The events of a test, whose result the worker stores. Raises as `generate` does."""
        return self._events("/inject", request.model_dump())

    def study(self, request: StudyRequest) -> Generator[Event, None, None]:
        """The events of a study, its result among them. Raises as `generate` does."""
        return self._events("/study", request.model_dump())

    def _events(self, path: str, body: dict[str, Any]) -> Generator[Event, None, None]:
        began = False
        self._person.require("runner", "having the worker compute")
        try:
            asked = connect_sse(self._http, "POST", path, json=body, headers=self._who(), timeout=_STREAMING)
            with asked as source:
                if source.response.is_error:
                    source.response.read()
                    raise _refused(source.response)
                for sent in source.iter_sse():
                    event = EVENT.validate_json(sent.data)
                    began = True
                    yield event
                    if isinstance(event, ENDS):
                        return
        except (httpx.TransportError, SSEError) as error:
            if not began:
                raise WorkerMissing(self.address, _reason(error)) from error
        except ValueError as error:
            raise WorkerMissing(self.address, _STRANGE) from error
        raise WorkerLost(self.address)

    def _ask(
        self,
        kind: type[Answer],
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        timeout: httpx.Timeout = _PATIENCE,
    ) -> Answer:
        try:
            response = self._http.request(method, path, json=body, headers=self._who(), timeout=timeout)
        except httpx.TransportError as error:
            raise WorkerMissing(self.address, _reason(error)) from error
        if response.is_error:
            raise _refused(response)
        try:
            return kind.model_validate_json(response.content)
        except ValueError as error:
            raise WorkerMissing(self.address, _STRANGE) from error

    def _who(self) -> dict[str, str]:
        """For whom it asks: signed anew each time, since the worker believes it for minutes only."""
        if self._tokens is None or self._person.way == "open":
            return {}
        return {PERSON_HEADER: self._tokens.sign(self._person)}


def _reason(error: Exception) -> str:
    if isinstance(error, httpx.LocalProtocolError):  # it would quote the header, and with it the token
        return "the request could not be sent"
    return str(error) or type(error).__name__


def _refused(response: httpx.Response) -> WorkerRefused:
    """What the worker said, in a sentence."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP {response.status_code}"
    after = response.headers.get("retry-after", "")
    return WorkerRefused(str(detail), float(after) if after.isdecimal() else None)
