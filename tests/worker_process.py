"""A worker on a port of this machine, a free one unless told, in a thread of the test's own process."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from benchmarks.served import free_port
from kthink_core.access.audit_log import AuditLog
from kthink_core.live.api import Event, GenerateRequest, Tokens
from kthink_core.precompute.pipeline import Plan
from kthink_core.settings import WorkerSettings
from kthink_core.worker.engine import Engine
from kthink_core.worker.http import Server, make_app
from kthink_core.worker.keeping import Keeping
from kthink_core.worker.service import Service

QUESTIONS = ["Two?", "Tom has 3 apples and buys 4 more.", "How many legs have 6 cats?"]


def request(**fields: object) -> GenerateRequest:
    """A short generation."""
    return GenerateRequest.model_validate({"prompt": QUESTIONS[1], "temperature": 1.0, "max_new_tokens": 24} | fields)


def tokens_of(events: list[Event]) -> list[int]:
    """Token ids of a stream, prompt included."""
    return [token_id for event in events if isinstance(event, Tokens) for token_id in event.token_ids]


@contextmanager
def working(
    plan: Plan,
    background: Callable[[Plan, Engine], None] | None = None,
    cache: Path = Path("nowhere"),
    port: int | None = None,
    audited: bool = False,
    **settings: object,
) -> Iterator[tuple[WorkerSettings, Engine]]:
    """Settings with which a client finds it, and its engine."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        port = port or free_port()
        bound.bind((settings.get("host", "127.0.0.1"), port))
        given = WorkerSettings.model_validate({"port": port} | settings)
        engine = Engine(lambda: plan, background, given.queue)
        audit = AuditLog(cache) if audited else None
        service = Service(engine, plan.experiment.config, given, Keeping(cache), audit)
        server = Server(uvicorn.Config(make_app(service), log_level="error", timeout_graceful_shutdown=5), service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        bound.listen()  # who comes before the server is up waits
        thread.start()
        while engine.plan is None:
            time.sleep(0.01)
        try:
            yield given, engine
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive()
