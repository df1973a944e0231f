"""One job of one visitor: a thread reads what the worker streams, the page draws what has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import NamedTuple

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
from kthink_core.live.watchlist import Watch
from kthink_core.ui.live.audience import Audience
from kthink_core.ui.live.run_state import RunName, RunState


class Known(NamedTuple):
    """What is known of a run that is remembered."""

    name: RunName
    audience: Audience
    remember: Callable[[LiveRun], None]
    """Called once the worker has taken it, and when it has ended."""


class LiveRun(RunState):
    """Starts when it is made. Read its fields under `lock`."""

    def __init__(
        self,
        client: WorkerClient,
        request: GenerateRequest | EncodeRequest,
        watched: tuple[Watch, ...],
        wanted: Callable[[], bool],
        now: Callable[[], float] = time.monotonic,
        after: LiveRun | None = None,
        known: Known | None = None,
    ) -> None:
        """`wanted` says whether somebody is still there; it ends where that is not so. `now` is a clock in seconds
        that only goes forward. `after`: it is asked for once that one is in the worker's queue, or has ended. `known`:
        of one that is remembered; its client is its own then, and closes with it."""
        super().__init__(request, watched, known.name if known else None)
        self.going = True
        self.taken = threading.Event()
        """Set once it is in the worker's queue, and at the end."""
        self._client, self._wanted, self._now, self._after, self._known = client, wanted, now, after, known
        self._stopped = threading.Event()
        self._began: float | None = None
        self._ended: float | None = None
        self._heard = now()
        self._given = 0
        """What was written before it began, where it is a branch."""
        self._thread = threading.Thread(target=self._read, name="live", daemon=True)
        self._thread.start()

    def join(self, visit: str) -> None:
        if self._known is not None:
            self._known.audience.join(visit)

    def stop(self) -> None:
        """End it before its next token, or before it has begun."""
        self._stopped.set()
        # What a worker that does not answer means, the reading thread tells; a closed client has nothing to end.
        with suppress(KthinkError, RuntimeError):
            if self.job is not None and self.going:
                self._client.cancel(self.job)

    @property
    def rate(self) -> float | None:
        written = self.written - self._given
        if self._began is None or written < 2 or isinstance(self.request, EncodeRequest):
            return None
        return written / ((self._ended or self._now()) - self._began)

    @property
    def silence(self) -> float:
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
                        is_new = not self.taken.is_set()
                        self._hear(event)
                    if is_new:
                        self._remember()
                    if self._stopped.is_set():
                        break
                    if not self._wanted():
                        trouble = "No page showed it any more, which ended it. What came stays here."
                        break
        except WorkerRefused as error:
            trouble, self.refused = str(error), True
        except KthinkError as error:
            trouble = str(error)
        finally:
            with self.lock:
                self.trouble = self.trouble or trouble
                self.going, self._ended = False, self._now()
            self._remember()
            self.taken.set()
            self.began_to_come.set()
            if self._known is not None:
                self._client.close()

    def _remember(self) -> None:
        if self._known is not None:
            self._known.remember(self)

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
