"""A worker that is kept at work by live prompts."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kthink_core.errors import WorkerLost, WorkerMissing, WorkerRefused
from kthink_core.live.api import GenerateRequest, Tokens
from kthink_core.live.client import WorkerClient
from kthink_core.settings import WorkerSettings

PATIENCE = 300.0
"""Seconds after which a worker that does not begin counts as failed."""


@contextmanager
def generating(port: int, token: str | None = None) -> Iterator[None]:
    """While open, live generations are under way and waiting."""
    settings = WorkerSettings(port=port, token=token)  # pyright: ignore[reportArgumentType]
    begun, ended = threading.Event(), threading.Event()
    asked = GenerateRequest(prompt="Tom has 3 apples and buys 4 more.", temperature=1.0)

    def ask() -> None:
        with WorkerClient(settings) as client:
            while not ended.is_set():
                try:
                    for event in client.generate(asked):
                        if isinstance(event, Tokens):
                            begun.set()
                except (WorkerMissing, WorkerRefused, WorkerLost):
                    if begun.is_set():
                        return  # it is being stopped
                    time.sleep(0.1)  # it still loads its model

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        if not begun.wait(PATIENCE):
            raise RuntimeError("no generation began")
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(PATIENCE)
