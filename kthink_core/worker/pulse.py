"""Whether a worker still answers: its process can live on while what runs in it hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx

from kthink_core.settings import WorkerSettings

FIRST_ANSWER = 300.0
"""Seconds that a worker has until it answers for the first time: before it listens it imports torch."""
INTERVAL = 0.5
"""Seconds from one question to the next."""
LAST_QUESTION = 10.0
"""Seconds that the last question waits before a worker counts as hanging, no longer than silence is borne."""


class Silence:
    """How long a worker has given no answer. `now` is a clock in seconds; `most`: seconds that are borne."""

    def __init__(self, most: float, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._most = now, max(most, FIRST_ANSWER)
        self._once_heard = most
        self._last = now()

    def heard(self) -> None:
        """It has answered, and is to answer within `most` from now on."""
        self._last, self._most = self._now(), self._once_heard

    def too_long(self) -> bool:
        """Whether it should have answered by now."""
        return self._now() - self._last > self._most


class Pulse:
    """Asks a worker of this machine for its health, in a thread of its own, from when it is made until `close`.

    Whatever it answers, a refusal too, is a sign of life.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings, self._silence = settings, Silence(settings.silence)
        self._closed, self._lost = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    def lost(self) -> bool:
        """Whether the worker has been silent for too long; once."""
        lost = self._lost.is_set()
        self._lost.clear()
        return lost

    def close(self) -> None:
        """Asks no more; an answer that is still awaited counts for nothing."""
        self._closed.set()

    def _watch(self) -> None:
        token = self._settings.token
        headers = {"authorization": f"Bearer {token.get_secret_value()}"} if token else {}
        # One that answers slowly lives: an answer may take as long as no answer is borne.
        most = self._settings.silence
        with httpx.Client(headers=headers, trust_env=False) as client:
            while not self._closed.wait(INTERVAL):
                if self._answers(client, most):
                    self._silence.heard()
                # Judged only after a question of its own: where this process itself was stopped, nobody was asked.
                elif self._silence.too_long():
                    # The whole machine may have stood still, or been too busy, while the answer was due.
                    if not self._answers(client, min(most, LAST_QUESTION)):
                        self._lost.set()
                        return
                    self._silence.heard()

    def _answers(self, client: httpx.Client, seconds: float) -> bool:
        try:
            with client.stream("GET", f"{self._settings.own_address}/health", timeout=seconds):
                return True
        except httpx.TransportError:
            return False
