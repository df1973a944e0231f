"""One thread owns the model, the SAEs and the device; others hand it jobs. Knows nothing of HTTP or Streamlit.

Live jobs go first, in the order they came: between any two tokens of the background precompute the thread looks for
them. A job that fails, out of memory included, fails alone.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import NamedTuple

import torch

from kthink_core.errors import Busy, KthinkError, QueueFull, UnknownName, WorkerFailed, WorkerUnready
from kthink_core.live.api import (
    KINDS,
    Cancelled,
    Done,
    Event,
    Failed,
    JobState,
    JobStatus,
    Queued,
    Started,
)
from kthink_core.precompute.pipeline import Plan
from kthink_core.worker.device_time import DeviceTime
from kthink_core.worker.jobs import Dropped, Job, Outcome
from kthink_core.worker.perform import perform

_REMEMBERED = 100
"""Ended jobs whose state can still be asked for."""
_KEEPABLE = 32
"""Generations that can still be stored after they are done."""

log = logging.getLogger("kthink.engine")


class Stopped(Exception):
    """The engine is closing: what the background does ends between two tokens."""


class Load(NamedTuple):
    """How busy the engine is."""

    queued: int
    running: bool
    background: str


def _nobody(_: Event) -> None:
    """Hears what is said of a job that has ended."""


class Engine:
    """Starts its thread when it is made; `close` ends it."""

    def __init__(self, load: Callable[[], Plan], background: Callable[[Plan, Engine], None] | None, most: int) -> None:
        """`load` makes the plan, `background` runs beside the jobs; both on its thread. `most`: jobs that wait."""
        self.plan: Plan | None = None
        """None until everything is loaded."""
        self.failure: KthinkError | None = None
        """Why it could not be, or why the engine cannot go on; its thread has ended then."""
        self._load, self._background, self._most = load, background, most
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._aside: list[Job] = []
        """Running, and giving way at the moment."""
        self._closing = False
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._made: deque[Job] = deque()
        self._says = "nothing"
        self.device_time = DeviceTime()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job, most_of_client: int = sys.maxsize) -> None:
        """Queue a job. Raises QueueFull, Busy for a client that has its jobs under way, UnknownName for a hookpoint
        without an SAE, WorkerUnready where nothing is taken any more."""
        assert self.plan is not None, "submitted before everything was loaded"
        for hookpoint in job.request.hookpoints:
            if hookpoint not in self.plan.saes.by_hookpoint:
                raise UnknownName("hookpoint", hookpoint, self.plan.saes.by_hookpoint)
        with self._changed:
            if self._closing or self.failure is not None:
                raise WorkerUnready("the worker is ending")
            if sum(other.caller.client == job.caller.client for other in self._under_way()) >= most_of_client:
                raise Busy(f"{most_of_client} jobs of yours are under way; wait for one, or cancel it")
            if len(self._queue) >= self._most:
                raise QueueFull(self._most)
            live = sum(other.work is None for other in self._queue)
            self._queue.insert(len(self._queue) if job.work else live, job)
            self._changed.notify()
            self._tell_positions()

    def cancel(self, job_id: str) -> None:
        """A queued job never starts, a running one ends before its next token; any other stays as it is."""
        with self._changed:
            job = next((job for job in self._under_way() if job.id == job_id), None)
            if job is None:
                return
            job.cancelled.set()
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, "cancelled", Cancelled(job=job.id))
                self._tell_positions()

    def find(self, job_id: str) -> Job | None:
        """A job that is queued or running, or ended not long ago."""
        with self._changed:
            there = [*self._under_way(), *self._made]
            return next((job for job in there if job.id == job_id), self._ended.get(job_id))

    def status(self, job: Job) -> JobStatus:
        with self._changed:
            position = self._queue.index(job) + bool(self._running) if job in self._queue else None
        return JobStatus(
            job=job.id, kind=KINDS[type(job.request)], state=job.state, position=position, message=job.message
        )

    def load(self) -> Load:
        """Waits for no lock: it tells of the engine whatever that does."""
        return Load(len(self._queue), self._running is not None, self._says)

    @property
    def is_closing(self) -> bool:
        return self._closing

    def close(self, timeout: float = 30) -> None:
        """Cancel everything and end the thread."""
        with self._changed:
            self._closing = True
            for job in self._under_way():
                job.cancelled.set()
            self._changed.notify()
        self._thread.join(timeout)

    def _under_way(self) -> list[Job]:
        return [*([self._running] if self._running else []), *self._aside, *self._queue]

    def _run(self) -> None:
        try:
            self._work()
        except KthinkError as error:
            self._give_up(error)
        except BaseException as error:
            log.exception("the engine")
            self._give_up(WorkerFailed(f"the worker cannot go on ({type(error).__name__}); its log tells why"))

    def _give_up(self, error: KthinkError) -> None:
        with self._changed:
            self.failure = error
            for job in self._under_way():
                self._end(job, "failed", Failed(job=job.id, message=str(error)))
            self._queue.clear()

    def _work(self) -> None:
        self.plan = self._load()
        if self._background is not None:
            try:
                self._background(self.plan, self)
                self._says = "nothing"
            except Stopped:
                return
            except KthinkError as error:  # another writer, a full disk: live jobs go on
                self._says = f"stopped: {error}"
                log.error("background: %s", error)
            except Exception as error:
                self._says = f"stopped: {type(error).__name__}"
                log.exception("background")
        while self.perform_waiting(wait=True):
            pass

    def perform_waiting(self, *, wait: bool = False) -> bool:
        """Do what is queued; with `wait`, until something was. False where the engine is closing. Its thread only."""
        while not self._closing:
            with self._changed:
                if wait:
                    self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return not self._closing
                job = self._begin()
            self._perform(job)
            wait = False
        self._empty()
        return False

    def _begin(self) -> Job:
        """The next job of the queue is the running one. Under the lock."""
        job = self._running = self._queue.popleft()
        job.state, job.began = "running", time.monotonic()
        job.tell(Started(job=job.id, seed=getattr(job.request, "seed", None) or 0))
        self._tell_positions()
        return job

    def _give_way(self, job: Job) -> None:
        """Do the live jobs that wait, in the middle of one that gives way. Raises Dropped where nobody wants it."""
        while not job.cancelled.is_set():
            with self._changed:
                if not self._queue or self._queue[0].work is not None:
                    return
                self._aside.append(job)
                live = self._begin()
            began = time.monotonic()
            self._perform(live)
            job.aside += time.monotonic() - began
            with self._changed:
                self._aside.remove(job)
                self._running = job
        raise Dropped

    def _perform(self, job: Job) -> None:
        assert self.plan is not None and job.began is not None
        try:
            for part in perform(self.plan, job, lambda: self._give_way(job)):
                if job.cancelled.is_set():
                    self._end(job, "cancelled", Cancelled(job=job.id))
                    return
                if isinstance(part, Outcome):
                    job.inference, seconds = part.inference, time.monotonic() - job.began
                    told = part._asdict() | {"job": job.id, "seconds": seconds}
                    self._end(job, "done", Done.model_validate(told))
                elif part is not None:
                    job.tell(part)
        except Dropped:
            self._end(job, "cancelled", Cancelled(job=job.id))
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            self._fail(job, error, "The device ran out of memory: ask for fewer tokens, or try again later.")
        except KthinkError as error:
            self._fail(job, error, str(error))
        except Exception as error:  # noqa: BLE001 - the worker's edge: whatever it was, the next job is unharmed
            self._fail(job, error, f"It failed; the worker's log tells why under job {job.id}.")
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()  # raises where the error has left the device useless: that is the end

    def _fail(self, job: Job, error: BaseException, message: str) -> None:
        job.message, job.trace = message, traceback.format_exc()
        known = isinstance(error, KthinkError)  # it says all that there is to say
        log.error("job %s failed: %s", job.id, message, exc_info=None if known else error)
        self._end(job, "failed", Failed(job=job.id, message=message))

    def _end(self, job: Job, state: JobState, event: Event) -> None:
        with self._changed:
            job.state = state
            if job.began is not None:  # before it is told, so that who asks again at once is counted
                self.device_time.spend(job.caller.client, time.monotonic() - job.began - job.aside)
            if self._running is job:
                self._running = None
            job.tell(event)
            job.tell = _nobody  # whoever listened, and what was not read, is let go
            self._ended[job.id] = job
            if len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
            if job.inference is not None:
                self._made.append(job)
                if len(self._made) > _KEEPABLE:
                    self._made.popleft().inference = None

    def _empty(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            self._end(job, "cancelled", Cancelled(job=job.id))

    def _tell_positions(self) -> None:
        """Under the lock, so that nobody hears an older position later."""
        for index, job in enumerate(self._queue):
            job.tell(Queued(job=job.id, position=index + bool(self._running)))

    def say(self, text: str) -> None:
        """What the background does, for whoever asks how the engine is."""
        self._says = text
