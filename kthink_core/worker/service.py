"""What a caller may ask of the worker: limits are checked here, jobs are made here, and their events come out here."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

from kthink_core.access.audit_log import AuditLog
from kthink_core.access.request_rate import RequestRate
from kthink_core.config import ExperimentConfig
from kthink_core.errors import Busy, PromptRefused, WorkerUnready
from kthink_core.live.api import (
    ENDS,
    KINDS,
    AnyRequest,
    EncodeRequest,
    Event,
    GenerateRequest,
    Health,
    KeepRequest,
    Kept,
    Queued,
    Tokenized,
    TokenizeRequest,
    TypedPrompt,
)
from kthink_core.live.limits import refusal
from kthink_core.live.study_requests import RunTrace
from kthink_core.model.language_model import token_text
from kthink_core.model.steering import steering
from kthink_core.precompute.pipeline import Plan
from kthink_core.prompts import SentPrompt, spelled_ids, typed_prompt
from kthink_core.records import Inference
from kthink_core.settings import WorkerSettings
from kthink_core.steer_options import check_steering
from kthink_core.store.files import Layout
from kthink_core.store.kept_memory import KeptMemory, read_memory
from kthink_core.store.kept_runs import check_kept
from kthink_core.worker.branching import Begun, begun
from kthink_core.worker.callers import Caller, named_experiments
from kthink_core.worker.engine import Engine
from kthink_core.worker.jobs import NOBODY, Job
from kthink_core.worker.keeping import Keeping
from kthink_core.worker.metrics import counting
from kthink_core.worker.studying import studying

_REPEAT = 2.0
"""Seconds after which a job's place in the queue is told again."""


class Stream:
    """The events of one job, as an asynchronous iterator that ends after the last one.

    Who waits in the queue hears so again and again, which shows whether anybody still listens.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """From any thread. Never waits: a job has no more events than tokens, however slowly they are read."""
        self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def __aiter__(self) -> AsyncIterator[Event]:
        last: Event | None = None
        while not isinstance(last, ENDS):
            try:
                last = await asyncio.wait_for(self._events.get(), _REPEAT)
            except TimeoutError:
                if not isinstance(last, Queued):
                    continue
            yield last


class Service:
    """The engine with its limits."""

    def __init__(
        self,
        engine: Engine,
        config: ExperimentConfig,
        settings: WorkerSettings,
        keeping: Keeping,
        audit: AuditLog | None = None,
    ) -> None:
        self.audit = audit
        self.engine, self.config, self.settings = engine, config, settings
        self._began = time.monotonic()
        self._rate = RequestRate(settings.requests_per_minute)
        self._tokenizing = threading.Lock()
        self._keeping = keeping

    def plan(self) -> Plan:
        """Raises WorkerUnready while it is loading, KthinkError where that failed."""
        if self.engine.failure is not None:
            raise self.engine.failure
        if self.engine.plan is None:
            raise WorkerUnready("the worker is still loading its model")
        return self.engine.plan

    def count(self, client: str) -> None:
        """Raises Busy for a client that asks too often, or has had its share of the device for a day."""
        if again := self._rate.wait(client):
            raise Busy(f"more than {self.settings.requests_per_minute} requests a minute", again)
        most = self.settings.seconds_per_day
        if most and (again := self.engine.device_time.wait(client, most)):
            raise Busy(f"your runs have taken the {most:,} seconds of the device that each has a day", again)

    def tokenize(self, asked: TokenizeRequest) -> Tokenized:
        """The prompt as it would be sent."""
        plan = self.plan()
        if asked.template:
            ids, typed = self._sent(plan, asked)
        else:
            ids = self._text_ids(plan, asked.prompt, special=asked.special)
            typed = [True] * len(ids)
        limit = self._most(plan, is_prompt=asked.template)
        return Tokenized(
            count=len(ids),
            token_ids=tuple(ids[:limit]),
            texts=tuple(token_text(plan.lm.tokenizer, token_id) for token_id in ids[:limit]),
            typed=tuple(typed[:limit]),
            limit=limit,
        )

    def job(self, asked: AnyRequest, stream: Stream, asking: Caller) -> Job:
        """Check and queue a job. Raises PromptRefused, Busy, QueueFull, UnknownName, WorkerUnready, and what a study
        says of what it is asked."""
        plan = self.plan()
        asking.check_experiments(asked)
        if not isinstance(asked, GenerateRequest | EncodeRequest):
            work = studying(self._keeping.cache, asked, plan, partial(self._written, asking))
            job = Job(asked, (), counting(KINDS[type(asked)], stream.put), asking, work)
            self.engine.submit(job, self.settings.jobs_per_client)
            self._note(job)
            return job
        if isinstance(asked, GenerateRequest):
            limit, site = asked.max_new_tokens, plan.experiment.config.site
            check_steering(asked.steering, limit, site, at_residual=asked.at_residual, flag='"at_residual": true')
            start = self._begun(plan, asked, asking)
            steering(start.trace.interventions if start else asked.steering, plan.saes.by_hookpoint)
            ids = list(start.token_ids) if start else self._sent(plan, asked).token_ids
            kind, new = "generate", asked.max_new_tokens
        else:
            start, kind, ids, new = None, "encode", self._text_ids(plan, asked.text, special=asked.special), 0
        self._check(plan, len(ids), new, is_prompt=kind == "generate" and start is None)
        job = Job(asked, tuple(ids), counting(kind, stream.put), asking, begun=start)
        self.engine.submit(job, self.settings.jobs_per_client)
        self._note(job)
        return job

    def keep(self, job: Job, asked: KeepRequest, asking: Caller = NOBODY) -> Kept:
        """Store what a job made, once; a person signs with their own name. Raises PromptRefused where it made nothing
        that can be stored, or would be stored where this person sees nothing."""
        if asking.person.experiments is not None:
            raise PromptRefused("kept runs go into an experiment of their own, which you do not see")
        author = asking.person.name or asked.author
        memory = _memory(asking, run=asked.run, watched=asked.watched, compared=asked.compared)
        parent = self._parent(job, author, asking)
        kept = self._keeping.keep(job, self.plan().experiment, author, asked.reference, parent, memory)
        if self.audit is not None:
            self.audit.write("keep", asking.person, job=job.id, experiment=kept.experiment, inference=kept.inference)
        return kept

    def delete_kept(self, kept: Kept, asking: Caller) -> Kept:
        """Raises NotAllowed for who neither kept it nor is an owner, UnknownName, ExperimentBusy, DiskFull."""
        asking.check_experiments(kept)
        check_kept(self._keeping.cache, kept.experiment, kept.inference)
        memory = read_memory(Layout(self._keeping.cache / kept.experiment), kept.inference)
        if memory is None or memory.keeper != asking.person.id:
            asking.require("owner", "deleting what somebody else kept")
        self._keeping.delete(kept, asking.person.name)
        if self.audit is not None:
            self.audit.write("delete", asking.person, experiment=kept.experiment, inference=kept.inference)
        return kept

    def tidy(self, kept: Kept) -> None:
        """To be called after a keep, once its caller has the answer."""
        self._keeping.tidy(kept.experiment)

    def close(self) -> None:
        """Cancel everything; returns once the engine has ended."""
        self._keeping.close()
        self.engine.close()

    def health(self) -> Health:
        load, plan = self.engine.load(), self.engine.plan
        limits = {name: getattr(self.settings, name) for name in ("new_tokens", "queue", "jobs_per_client")}
        return Health(
            status="failed" if self.engine.failure else "ready" if plan else "starting",
            model=self.config.model,
            sae=self.config.sae,
            model_revision=plan.experiment.revisions.model if plan else None,
            sae_revisions=plan.saes.revisions if plan else {},
            site=self.config.site,
            device=str(plan.lm.device) if plan else None,
            hookpoints={name: sae.shape.num_latents for name, sae in plan.saes.by_hookpoint.items()} if plan else {},
            queue=load.queued,
            running=load.running,
            background=load.background,
            uptime=time.monotonic() - self._began,
            limits=limits | ({"prompt_tokens": self._most(plan), "context": plan.lm.context} if plan else {}),
        )

    def _note(self, job: Job) -> None:
        """A prompt by its length; by its text only where the operator wants that."""
        if self.audit is None:
            return
        asked = job.request
        typed = getattr(asked, "prompt", None) or getattr(asked, "text", None)
        facts = {"characters": len(typed), "tokens": len(job.token_ids)} if typed else {}
        text = {"text": typed} if typed and self.settings.audit_prompts else {}
        experiments = {"experiment": " ".join(named_experiments(asked))} if job.work is not None else {}
        kind = "prompt" if typed else "study"
        self.audit.write(kind, job.caller.person, job=job.id, kind=KINDS[type(asked)], **facts, **experiments, **text)

    def _written(self, asking: Caller, job_id: str) -> Inference:
        """What a job of this caller has just made. Raises PromptRefused."""
        job = self.engine.find(job_id)
        if job is None or job.inference is None or not asking.owns(job.caller):
            raise PromptRefused("the worker has forgotten that run, or it is not whole: run it again")
        return job.inference

    def _begun(self, plan: Plan, asked: GenerateRequest, asking: Caller) -> Begun | None:
        """What a branch begins with. Raises as `begun` does."""
        if asked.branch is None:
            return None
        if asked.steering:
            raise PromptRefused("a branch goes on under the steering of its trace, none or some: leave out `steering`")
        ids_of = partial(self._text_ids, plan, special=asked.special)
        return begun(self._keeping.cache, asked.branch, plan, partial(self._written, asking), ids_of)

    def _parent(self, job: Job, author: str, asking: Caller) -> Kept | None:
        """Where the run that a branch began as is stored: it is kept with it, as long as the worker has it."""
        branch = getattr(job.request, "branch", None)
        if branch is None or not isinstance(branch.trace, RunTrace):
            return None
        parent = self.engine.find(branch.trace.job)
        if parent is None or parent.inference is None:
            return None
        above = self._parent(parent, author, asking)
        return self._keeping.keep(parent, self.plan().experiment, author, None, above, _memory(asking))

    def _sent(self, plan: Plan, asked: TypedPrompt) -> SentPrompt:
        with self._tokenizing:
            return typed_prompt(
                plan.lm.tokenizer,
                plan.lm.frames,
                asked.prompt,
                asked.mode,
                instruction=asked.instruction,
                special=asked.special,
            )

    def _text_ids(self, plan: Plan, text: str, *, special: bool) -> list[int]:
        tokenizer = plan.lm.tokenizer
        with self._tokenizing:
            return list(tokenizer.encode(text, add_special_tokens=False)) if special else spelled_ids(tokenizer, text)

    def _most(self, plan: Plan, *, is_prompt: bool = True) -> int:
        """A trace, pasted or begun, may fill the model's context."""
        if is_prompt:
            return min(self.settings.prompt_tokens, plan.lm.context - 1)
        return min(self.settings.trace_tokens, plan.lm.context)

    def _check(self, plan: Plan, given: int, new: int, *, is_prompt: bool) -> None:
        told = refusal(
            given,
            new,
            prompt_tokens=self._most(plan, is_prompt=is_prompt),
            new_tokens=self.settings.new_tokens,
            context=plan.lm.context,
        )
        if told is not None:
            raise PromptRefused(told)


def _memory(asking: Caller, **told: Any) -> KeptMemory:
    """Of what this caller keeps now."""
    return KeptMemory(keeper=asking.person.id, kept=datetime.now(UTC).isoformat(timespec="seconds"), **told)
