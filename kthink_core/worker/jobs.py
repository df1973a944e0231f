"""One thing that the worker was asked to do, as it stands."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

from kthink_core.live.api import EncodeRequest, Event, GenerateRequest, JobState
from kthink_core.records import FinishReason, Inference


class Outcome(NamedTuple):
    """What is left of a job that is done."""

    finish_reason: FinishReason | None = None
    """None where nothing was generated."""
    answer: str | None = None
    inference: Inference | None = None
    """What would be stored of a generation with all hookpoints."""


class Job:
    """One thing asked for. `tell` hears its events, from the engine's thread or a caller's, and must not wait."""

    def __init__(
        self,
        request: GenerateRequest | EncodeRequest,
        token_ids: tuple[int, ...],
        tell: Callable[[Event], None],
        client: str = "",
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.request = request
        self.token_ids = token_ids
        """The whole prompt, or the text to encode."""
        self.tell = tell
        self.client = client
        self.state: JobState = "queued"
        self.message: str | None = None
        self.trace: str | None = None
        """For the operator: the whole error."""
        self.inference: Inference | None = None
        """Of its outcome, as long as it can be stored."""
        self.cancelled = threading.Event()
