"""One job of one visitor: a thread reads what the worker streams, the page draws what has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress

from kthink_core.errors import KthinkError, WorkerRefused
from kthink_core.live.api import (
    Cancelled,
    Done,
    EncodeRequest,
    Event,
    Failed,
    GenerateRequest,
    Queued,
    Started,
    Tokens,
)
from kthink_core.live.client import WorkerClient
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.watchlist import Watch
from kthink_core.store.scopes import Scope


class LiveRun:
    """Starts when it is made. Read its fields under `lock`."""

    def __init__(
        self,
        client: WorkerClient,
        request: GenerateRequest | EncodeRequest,
        watched: tuple[Watch, ...],
        wanted: Callable[[], bool],
        now: Callable[[], float] = time.monotonic,
        after: LiveRun | None = None,
    ) -> None:
        """`wanted` says whether the visitor is still there; it ends where that is not so. `now` is a clock in seconds
        that only goes forward. `after`: it is asked for once that one is in the worker's queue, or has ended."""
        self.request = request
        self.scope: Scope = "generated" if isinstance(request, GenerateRequest) else "all"
        """What counts: all that the model wrote; of a text that was only encoded, all of it."""
        self.lock = threading.Lock()
        self.began_to_come = threading.Event()
        """Set with the first generated token, and at the end."""
        self.taken = threading.Event()
        """Set once it is in the worker's queue, and at the end."""
        self.trace = LiveTrace()
        self.job: str | None = None
        self.going = True
        self.position: int | None = None
        """Jobs before this one, while it waits."""
        self.end: Done | None = None
        self.trouble: str | None = None
        """Why it ended without being done; None where the visitor stopped it."""
        self.refused = False
        """Whether the worker did not take it; its trouble says why."""
        self.watched, self._client, self._wanted, self._now, self._after = watched, client, wanted, now, after
        self._stopped = threading.Event()
        self._began: float | None = None
        self._ended: float | None = None
        self._heard = now()
        self._given = 0
        """What was written before it began, where it is a branch."""
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it before its next token, or before it has begun."""
        self._stopped.set()
        with suppress(KthinkError):  # a worker that does not answer is what the reading thread will tell
            if self.job is not None:
                self._client.cancel(self.job)

    @property
    def rate(self) -> float | None:
        """Generated tokens a second."""
        written = sum(segment != "prompt" for segment in self.trace.segments)
        written -= self._given
        if self._began is None or written < 2 or isinstance(self.request, EncodeRequest):
            return None
        return written / ((self._ended or self._now()) - self._began)

    @property
    def silence(self) -> float:
        """Seconds since the worker said something, be it only that the run still waits; 0 once it has ended."""
        return self._now() - self._heard if self.going else 0.0

    def _read(self) -> None:
        trouble: str | None = None
        asked = self.request
        if self._after is not None:
            self._after.taken.wait()
        try:
            events = self._client.generate(asked) if isinstance(asked, GenerateRequest) else self._client.encode(asked)
            with closing(events) as stream:
                for event in stream:
                    with self.lock:
                        self._hear(event)
                    if self._stopped.is_set():
                        break
                    if not self._wanted():
                        trouble = "The page was away for a moment, which ended it."
                        break
        except WorkerRefused as error:
            trouble, self.refused = str(error), True
        except KthinkError as error:
            trouble = str(error)
        finally:
            with self.lock:
                self.trouble = self.trouble or trouble
                self.going, self._ended = False, self._now()
            self.taken.set()
            self.began_to_come.set()

    def _hear(self, event: Event) -> None:
        self._heard = self._now()
        if isinstance(event, Queued):
            self.job, self.position = event.job, event.position
            self.taken.set()
        elif isinstance(event, Started):
            self.job, self.position = event.job, None
            self.taken.set()
        elif isinstance(event, Tokens):
            self.position = None
            if not event.first and isinstance(self.request, GenerateRequest):
                self._given = len(event.segments) - event.segments.count("prompt")
            self.trace.add(event)
            self._began = self._began or self._now()
            if event.first:
                self.began_to_come.set()
        elif isinstance(event, Done):
            self.end = event
        elif isinstance(event, Failed):
            self.trouble = event.message
        elif isinstance(event, Cancelled) and not self._stopped.is_set():
            self.trouble = "The worker ended. What came stays on this page; run it again when the worker is back."
