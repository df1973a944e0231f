"""One thread owns the model, the SAEs and the device; others hand it jobs. Knows nothing of HTTP or Streamlit.

Live jobs go first, in the order they came: between any two tokens of the background precompute the thread looks for
them. A job that fails, out of memory included, fails alone.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from kthink_core.errors import KthinkError, QueueFull, UnknownName
from kthink_core.jobs import (
    Cancelled,
    Done,
    EncodeRequest,
    Event,
    Failed,
    GenerateRequest,
    Job,
    JobState,
    JobStatus,
    Queued,
    Started,
    Tokens,
)
from kthink_core.live import Live, encode_text
from kthink_core.pipeline import Plan, assemble
from kthink_core.records import Problem, Prompt
from kthink_core.sampling import Sampling

_REMEMBERED = 100
"""Ended jobs whose result can still be asked for."""

log = logging.getLogger("kthink.engine")


class Stopped(Exception):
    """The engine is closing: what the background does ends between two tokens."""


class Load(NamedTuple):
    """How busy the engine is."""

    queued: int
    running: bool
    background: str


class Engine:
    """Starts its thread when it is made; `close` ends it."""

    def __init__(
        self,
        load: Callable[[], Plan],
        background: Callable[[Plan, Engine], None] | None,
        most: int,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """`load` makes the plan, `background` runs beside the jobs; both on its thread. `most`: jobs that wait.
        `on_failure` hears when nothing could be loaded."""
        self.plan: Plan | None = None
        """None until everything is loaded."""
        self.failure: KthinkError | None = None
        """Why it could not be."""
        self._load, self._background, self._most, self._on_failure = load, background, most, on_failure
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._closing = False
        self._ended: OrderedDict[str, Job] = OrderedDict()
        self._says = "nothing"
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job. Raises QueueFull, UnknownName for a hookpoint without an SAE."""
        assert self.plan is not None, "submitted before everything was loaded"
        for hookpoint in job.request.hookpoints:
            if hookpoint not in self.plan.saes.by_hookpoint:
                raise UnknownName("hookpoint", hookpoint, self.plan.saes.by_hookpoint)
        with self._changed:
            if len(self._queue) >= self._most:
                raise QueueFull(self._most)
            self._queue.append(job)
            self._changed.notify()
        self._tell_positions()

    def cancel(self, job_id: str) -> None:
        """A queued job never starts, a running one ends before its next token; any other stays as it is."""
        with self._changed:
            job = self._running if self._running and self._running.id == job_id else None
            job = job or next((job for job in self._queue if job.id == job_id), None)
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
            there = [*self._queue, *([self._running] if self._running else [])]
            return next((job for job in there if job.id == job_id), self._ended.get(job_id))

    def status(self, job: Job) -> JobStatus:
        kind = "generate" if isinstance(job.request, GenerateRequest) else "encode"
        with self._changed:
            position = self._queue.index(job) + bool(self._running) if job in self._queue else None
        return JobStatus(job=job.id, kind=kind, state=job.state, position=position, message=job.message)

    def load(self) -> Load:
        with self._changed:
            return Load(len(self._queue), self._running is not None, self._says)

    def jobs_of(self, client: str) -> int:
        """How many jobs of a client are queued or running."""
        with self._changed:
            return sum(job.client == client for job in [*self._queue, *([self._running] if self._running else [])])

    def close(self, timeout: float = 30) -> None:
        """Cancel everything and end the thread."""
        with self._changed:
            self._closing = True
            for job in [*self._queue, *([self._running] if self._running else [])]:
                job.cancelled.set()
            self._changed.notify()
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.plan = self._load()
        except KthinkError as error:
            self.failure = error
            self._on_failure()
            return
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
                job = self._running = self._queue.popleft()
                job.state = "running"
            self._tell_positions()
            self._perform(job)
            wait = False
        self._empty()
        return False

    def _perform(self, job: Job) -> None:
        began = time.monotonic()
        assert self.plan is not None
        try:
            job.tell(Started(job=job.id, seed=getattr(job.request, "seed", 0)))
            for tokens in self._tokens(self.plan, job):
                if job.cancelled.is_set():
                    break
                job.tell(tokens)
            if job.cancelled.is_set():
                self._end(job, "cancelled", Cancelled(job=job.id))
            else:
                made = job.inference
                reason, answer = (made.finish_reason, made.answer) if made else (None, None)
                seconds = time.monotonic() - began
                self._end(job, "done", Done(job=job.id, finish_reason=reason, answer=answer, seconds=seconds))
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            self._fail(job, error, "The device ran out of memory: ask for fewer tokens, or try again later.")
        except KthinkError as error:
            self._fail(job, error, str(error))
        except Exception as error:  # noqa: BLE001 - the worker's edge: whatever it was, the next job is unharmed
            self._fail(job, error, f"It failed; the worker's log tells why under job {job.id}.")

    def _tokens(self, plan: Plan, job: Job) -> Iterator[Tokens]:
        request = job.request
        by_hookpoint = plan.saes.by_hookpoint
        saes = {hookpoint: by_hookpoint[hookpoint] for hookpoint in request.hookpoints or by_hookpoint}
        site = plan.experiment.config.site
        if isinstance(request, EncodeRequest):
            yield encode_text(plan.lm, saes, site, job.token_ids)
            return
        prompt = Prompt(0, Problem(0, request.prompt, None), request.mode, request.seed, job.token_ids)
        live = Live(plan.lm, saes, site, prompt, Sampling(request.temperature, request.top_p, request.max_new_tokens))
        yield from live
        if live.generation is not None and len(saes) == len(by_hookpoint):
            job.inference = assemble(plan.lm, plan.saes, live.generation, live.captured)

    def _fail(self, job: Job, error: BaseException, message: str) -> None:
        job.message, job.trace = message, traceback.format_exc()
        log.error("job %s failed", job.id, exc_info=error)
        self._end(job, "failed", Failed(job=job.id, message=message))

    def _end(self, job: Job, state: JobState, event: Event) -> None:
        with self._changed:
            job.state = state
            if self._running is job:
                self._running = None
            self._ended[job.id] = job
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)
        job.tell(event)

    def _empty(self) -> None:
        while self._queue:
            job = self._queue.popleft()
            self._end(job, "cancelled", Cancelled(job=job.id))

    def _tell_positions(self) -> None:
        with self._changed:
            waiting = [(job, index + bool(self._running)) for index, job in enumerate(self._queue)]
        for job, position in waiting:
            job.tell(Queued(job=job.id, position=position))

    def say(self, text: str) -> None:
        """What the background does, for whoever asks how the engine is."""
        self._says = text
