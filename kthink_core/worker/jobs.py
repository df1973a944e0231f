"""One thing that the worker was asked to do, as it stands."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

from kthink_core.live.api import EncodeRequest, Event, GenerateRequest, JobState
from kthink_core.records import FinishReason, Inference


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
        self.finish_reason: FinishReason | None = None
        self.answer: str | None = None
        self.inference: Inference | None = None
        """Of a generation that is done, with all hookpoints: what would be stored of it."""
        self.cancelled = threading.Event()
