"""One longer job that a visitor asked for: a thread reads what the worker says, the page draws how far it is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from kthink_core.errors import KthinkError, WorkerLost, WorkerMissing
from kthink_core.live.api import Cancelled, Event, Failed, InjectRequest, Progressed, Queued, Started, Studied
from kthink_core.live.client import WorkerClient
from kthink_core.live.study_requests import StudyRequest

Asked = InjectRequest | StudyRequest


class JobWatch:
    """Starts when it is made. Read its fields under `lock`."""

    def __init__(self, client: WorkerClient, request: Asked, wanted: Callable[[], bool]) -> None:
        """`wanted` says whether the visitor is still there; the job ends where that is not so."""
        self.request = request
        self.lock = threading.Lock()
        self.going = True
        self.position: int | None = None
        """Jobs before it, while it waits."""
        self.done, self.of = 0, 0
        """Parts."""
        self.id: str | None = None
        """Under which its result is stored."""
        self.document: dict[str, Any] | None = None
        """Its result; None of a job that has none, and until it comes."""
        self.trouble: str | None = None
        self.lost = False
        """Whether its trouble is that the worker went away: over once one answers again."""
        self._client, self._wanted = client, wanted
        self._stopped = threading.Event()
        threading.Thread(target=self._read, name="job", daemon=True).start()

    def stop(self) -> None:
        """End it at the next word of the worker."""
        self._stopped.set()

    def _read(self) -> None:
        trouble, lost = None, False
        try:
            with closing(self._events()) as events:
                for event in events:
                    with self.lock:
                        self._hear(event)
                    if self._stopped.is_set() or not self._wanted():
                        break
        except KthinkError as error:
            trouble, lost = str(error), isinstance(error, WorkerLost | WorkerMissing)
        finally:
            with self.lock:
                self.trouble = self.trouble or trouble
                self.lost = self.lost or lost
                self.going = False

    def _events(self) -> Generator[Event, None, None]:
        asked = self.request
        return self._client.inject(asked) if isinstance(asked, InjectRequest) else self._client.study(asked)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Queued):
            self.position = event.position
        elif isinstance(event, Started):
            self.position = None
        elif isinstance(event, Progressed):
            self.position, self.done, self.of = None, event.done, event.of
        elif isinstance(event, Studied):
            self.id, self.document = event.id, event.document
        elif isinstance(event, Failed):
            self.trouble = event.message
        elif isinstance(event, Cancelled) and not self._stopped.is_set():
            self.trouble, self.lost = "The worker ended. Ask again when it is back.", True
