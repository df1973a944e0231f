"""The engine over HTTP: JSON in, server-sent events out; `/docs` shows the API.

    POST /tokenize             never waits behind a generation
    POST /generate, /encode    events: queued, started, tokens …, then done, failed or cancelled
    POST /inject, /study       events: queued, started, progressed …, studied, then the same ends
    GET  /jobs/{job}, POST /jobs/{job}/cancel, /jobs/{job}/keep
    GET  /health, /metrics

A client that goes away cancels its job.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import socket
from typing import Annotated

import uvicorn
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import kthink_core
from kthink_core.access.audit_log import AuditLog
from kthink_core.access.body_limit import BodyLimit
from kthink_core.access.connections import bound
from kthink_core.access.host_names import HostNames
from kthink_core.access.refusal_log import RefusalLog
from kthink_core.access.token_check import TokenCheck
from kthink_core.config import BATCH_SIZE, Device, ExperimentConfig
from kthink_core.live.api import (
    AnyRequest,
    EncodeRequest,
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
from kthink_core.model.language_model import leave_a_core
from kthink_core.precompute.pipeline import Plan, plan
from kthink_core.precompute.progress import Silent
from kthink_core.programs.api_docs import docs
from kthink_core.settings import WorkerSettings
from kthink_core.worker import metrics
from kthink_core.worker.background import background
from kthink_core.worker.callers import Caller, caller
from kthink_core.worker.engine import Engine
from kthink_core.worker.jobs import Job
from kthink_core.worker.keeping import Keeping
from kthink_core.worker.refusals import add_refusals
from kthink_core.worker.service import Service, Stream

REFUSALS = (400, 401, 403, 404, 409, 413, 422, 429)
"""Statuses that the audit log tells of."""


def make_app(service: Service) -> FastAPI:
    """The HTTP application."""
    app = FastAPI(title="kthink worker", version=kthink_core.__version__, docs_url=None, redoc_url=None)
    app.include_router(docs())
    app.state.service = service
    settings = service.settings
    app.add_middleware(BodyLimit, most=settings.body_bytes)
    if settings.token is not None:
        app.add_middleware(TokenCheck, token=settings.token)
    else:  # a web page could reach it under a name of its own
        app.add_middleware(HostNames, listens_on=settings.host, remedy="ask the worker at its address")
    if service.audit is not None:
        app.add_middleware(RefusalLog, audit=service.audit, statuses=REFUSALS)
    add_refusals(app)
    app.include_router(router)
    return app


async def _service(request: Request) -> Service:
    return request.app.state.service


Serving = Annotated[Service, Depends(_service)]


async def _caller(request: Request, service: Serving) -> Caller:
    asking = caller(request, service.settings.token)
    request.state.person = asking.person if asking.person.way != "open" else None  # for the audit log
    return asking


Asking = Annotated[Caller, Depends(_caller)]


async def _runner(asking: Asking) -> Caller:
    asking.require("runner", "having the worker compute")
    return asking


Running = Annotated[Caller, Depends(_runner)]
router = APIRouter()


@asynccontextmanager
async def _queued(service: Service, asked: AnyRequest, asking: Caller) -> AsyncIterator[tuple[Stream, Job]]:
    """What is wrong with a request is answered before the stream of events begins."""
    service.count(asking.client)
    stream = Stream()
    job = await asyncio.to_thread(service.job, asked, stream, asking)
    try:
        yield stream, job
    finally:
        service.engine.cancel(job.id)  # whoever goes away in the middle wants no more of it


async def _generation(service: Serving, asked: GenerateRequest, asking: Running) -> AsyncIterator[tuple[Stream, Job]]:
    async with _queued(service, asked, asking) as queued:
        yield queued


async def _encoding(service: Serving, asked: EncodeRequest, asking: Running) -> AsyncIterator[tuple[Stream, Job]]:
    async with _queued(service, asked, asking) as queued:
        yield queued


async def _injecting(service: Serving, asked: InjectRequest, asking: Running) -> AsyncIterator[tuple[Stream, Job]]:
    async with _queued(service, asked, asking) as queued:
        yield queued


async def _studying(service: Serving, asked: StudyRequest, asking: Running) -> AsyncIterator[tuple[Stream, Job]]:
    async with _queued(service, asked, asking) as queued:
        yield queued


async def _follow(stream: Stream) -> AsyncIterator[ServerSentEvent]:
    async for event in stream:
        yield ServerSentEvent(raw_data=event.model_dump_json(), event=event.event)


@router.post("/generate", response_class=EventSourceResponse)
async def generate(
    queued: Annotated[tuple[Stream, Job], Depends(_generation)],
) -> AsyncIterator[ServerSentEvent]:
    """Answer a prompt; tokens with their latents as they come."""
    async for event in _follow(queued[0]):
        yield event


@router.post("/encode", response_class=EventSourceResponse)
async def encode(queued: Annotated[tuple[Stream, Job], Depends(_encoding)]) -> AsyncIterator[ServerSentEvent]:
    """Latents of a text as it is."""
    async for event in _follow(queued[0]):
        yield event


@router.post("/inject", response_class=EventSourceResponse)
async def inject(queued: Annotated[tuple[Stream, Job], Depends(_injecting)]) -> AsyncIterator[ServerSentEvent]:
    """Test whether a stored feature is more than its words; the result is stored with its experiment."""
    async for event in _follow(queued[0]):
        yield event


@router.post("/study", response_class=EventSourceResponse)
async def study(queued: Annotated[tuple[Stream, Job], Depends(_studying)]) -> AsyncIterator[ServerSentEvent]:
    """What takes longer: a sweep of steering, an ablation, an attribution, sentences that matter."""
    async for event in _follow(queued[0]):
        yield event


@router.post("/tokenize")
def tokenize(service: Serving, asked: TokenizeRequest, _: Running) -> Tokenized:
    """A prompt as it would be sent."""
    return service.tokenize(asked)


@router.get("/jobs/{job_id}")
def job_status(service: Serving, job_id: str, asking: Asking) -> JobStatus:
    """Where a job stands; ended ones are remembered for a while."""
    return service.engine.status(_found(service, job_id, asking))


@router.post("/jobs/{job_id}/cancel")
def cancel(service: Serving, job_id: str, asking: Asking) -> JobStatus:
    """End a job before its next token; one that has ended stays as it is."""
    job = _found(service, job_id, asking)
    service.engine.cancel(job_id)
    return service.engine.status(job)


@router.post("/jobs/{job_id}/keep")
def keep(service: Serving, job_id: str, asked: KeepRequest, asking: Running, later: BackgroundTasks) -> Kept:
    """Store what a generation made in the experiment `live`."""
    kept = service.keep(_found(service, job_id, asking), asked, asking)
    later.add_task(service.tidy, kept)
    return kept


@router.post("/kept/{experiment}/{inference}/delete")
def delete_kept(service: Serving, experiment: str, inference: int, asking: Running) -> Kept:
    """Delete a kept run for good: for who kept it, and for owners."""
    return service.delete_kept(Kept(experiment=experiment, inference=inference), asking)


def _found(service: Service, job_id: str, asking: Caller) -> Job:
    job = service.engine.find(job_id)
    if job is None or not asking.owns(job.caller):
        raise HTTPException(404, "no such job, or it ended long ago")
    return job


@router.get("/health")
async def health(service: Serving) -> Health:
    """Model, device, queue, uptime. Waits neither for the engine nor for a thread: it is the sign of life."""
    return service.health()


@router.get("/metrics")
def prometheus(service: Serving) -> Response:
    """Counters in Prometheus text form."""
    metrics.QUEUED.set(service.engine.load().queued)
    return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)


class Server(uvicorn.Server):
    """Bounds its connections. Ends by cancelling what is under way, instead of waiting for it; ends where its engine
    has."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service

    async def startup(self, sockets: list[socket] | None = None) -> None:
        bound(asyncio.get_running_loop())
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._service.engine.failure is not None

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        await asyncio.to_thread(self._service.close)
        await super().shutdown(sockets)


def run(config: ExperimentConfig, name: str, cache: Path, device: Device, settings: WorkerSettings) -> None:
    """Serve until a signal ends it, where it may listen so. Raises whatever kept the model from loading."""

    def load() -> Plan:
        leave_a_core()
        return plan(name, config, device, Silent(), cache)

    keeping = Keeping(cache)
    engine = Engine(load, background(cache, BATCH_SIZE, keeping), settings.queue)
    audit = None if settings.token is None else AuditLog(cache)
    service = Service(engine, config, settings, keeping, audit)
    options = uvicorn.Config(
        make_app(service),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        timeout_graceful_shutdown=5,
        proxy_headers=False,  # limits count by address: no caller chooses it
    )
    Server(options, service).run()
    if engine.failure is not None:
        raise engine.failure
