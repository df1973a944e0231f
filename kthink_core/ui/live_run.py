"""One job of one visitor: a thread reads what the worker streams, the page draws what has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

from kthink_core.client import WorkerClient
from kthink_core.config import WorkerSettings
from kthink_core.errors import KthinkError
from kthink_core.jobs import Done, EncodeRequest, Event, Failed, GenerateRequest, Queued, Started, Tokens
from kthink_core.live_trace import Firing, LiveTrace, Watch


class LiveRun:
    """Starts when it is made. Read its fields under `lock`."""

    def __init__(
        self,
        settings: WorkerSettings,
        client: str,
        request: GenerateRequest | EncodeRequest,
        watched: tuple[Watch, ...],
        wanted: Callable[[], bool],
    ) -> None:
        """`wanted` says whether the visitor is still there; it ends where that is not so."""
        self.request = request
        self.lock = threading.Lock()
        self.trace = LiveTrace()
        self.firings: list[Firing] = []
        self.job: str | None = None
        self.going = True
        self.position: int | None = None
        """Jobs before this one, while it waits."""
        self.end: Done | None = None
        self.trouble: str | None = None
        """Why it ended without being done; None where the visitor stopped it."""
        self.watched, self._wanted = watched, wanted
        self._stopped = threading.Event()
        self._began: float | None = None
        self._ended: float | None = None
        self._thread = threading.Thread(target=self._read, args=(settings, client), name="live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it before its next token."""
        self._stopped.set()

    @property
    def rate(self) -> float | None:
        """Generated tokens a second."""
        written = sum(segment != "prompt" for segment in self.trace.segments)
        if self._began is None or written < 2:
            return None
        return written / ((self._ended or time.monotonic()) - self._began)

    def _read(self, settings: WorkerSettings, client: str) -> None:
        trouble: str | None = None
        try:
            with WorkerClient(settings, client) as worker:
                asked = self.request
                stream = worker.generate(asked) if isinstance(asked, GenerateRequest) else worker.encode(asked)
                with closing(stream):
                    for event in stream:
                        with self.lock:
                            self._hear(event)
                        if self._stopped.is_set() or not self._wanted():
                            break
        except KthinkError as error:
            trouble = str(error)
        with self.lock:
            self.trouble = self.trouble or trouble
            self.going, self._ended = False, time.monotonic()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Queued):
            self.job, self.position = event.job, event.position
        elif isinstance(event, Started):
            self.job, self.position = event.job, None
        elif isinstance(event, Tokens):
            self.firings += self.trace.add(event, self.watched)
            self._began = self._began or time.monotonic()
        elif isinstance(event, Done):
            self.end = event
        elif isinstance(event, Failed):
            self.trouble = event.message
