"""What the worker counts, for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kthink_core.live.api import ENDS, Event, Tokens

REGISTRY = CollectorRegistry()
QUEUED = Gauge("kthink_queued_jobs", "Jobs that wait", registry=REGISTRY)
JOBS = Counter("kthink_jobs", "Jobs by kind and end", ["kind", "end"], registry=REGISTRY)
TOKENS = Counter("kthink_tokens", "Positions encoded for live jobs", ["kind"], registry=REGISTRY)
FIRST = Histogram(
    "kthink_first_token_seconds",
    "From the request to the first new token, or a text's latents",
    registry=REGISTRY,
)


def counting(kind: str, tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """`tell` for the events of one job, counted."""
    began, waiting = time.monotonic(), True

    def count(event: Event) -> None:
        nonlocal waiting
        if isinstance(event, Tokens):
            TOKENS.labels(kind).inc(len(event.token_ids))
            if waiting and (event.first or kind == "encode"):
                FIRST.observe(time.monotonic() - began)
                waiting = False
        elif isinstance(event, ENDS):
            JOBS.labels(kind, event.event).inc()
        tell(event)

    return count
