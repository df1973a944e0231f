"""One thing that the worker was asked to do, as it stands."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from kthink_core.live.api import AnyRequest, Event, JobState
from kthink_core.records import FinishReason, Inference, Intervention, Receipt
from kthink_core.worker.callers import Caller

if TYPE_CHECKING:
    from kthink_core.precompute.pipeline import Plan
    from kthink_core.worker.branching import Begun


class Dropped(Exception):
    """Nobody wants the running job any more."""


class Outcome(NamedTuple):
    """What is left of a job that is done."""

    finish_reason: FinishReason | None = None
    """None where nothing was generated."""
    answer: str | None = None
    inference: Inference | None = None
    """What would be stored of a generation, or of a pasted trace, with all hookpoints."""
    receipts: tuple[Receipt, ...] = ()
    """Of what it was steered with, in this order:"""
    interventions: tuple[Intervention, ...] = ()
    most: Mapping[str, int] = MappingProxyType({})
    """How many features are kept of a position at most, by hookpoint where that is bounded."""


Work = Callable[["Plan", Callable[[], None]], Iterator[Event | Outcome]]
"""What does a longer job: (plan, pause) → its events and outcome. It calls `pause` now and then; what that raises ends
it."""


NOBODY = Caller("")


class Job:
    """One thing asked for. `tell` hears its events, from the engine's thread or a caller's, and must not wait."""

    def __init__(
        self,
        request: AnyRequest,
        token_ids: tuple[int, ...],
        tell: Callable[[Event], None],
        caller: Caller = NOBODY,
        work: Work | None = None,
        begun: Begun | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(12)
        self.request = request
        self.token_ids = token_ids
        """The whole prompt, or the text to encode."""
        self.tell = tell
        self.caller = caller
        self.work = work
        """Of a job that gives way to all others: what does it, between whose parts these are done."""
        self.begun = begun
        """Of a branch: what it begins with."""
        self.state: JobState = "queued"
        self.message: str | None = None
        self.trace: str | None = None
        """For the operator: the whole error."""
        self.inference: Inference | None = None
        """Of its outcome, as long as it can be stored."""
        self.cancelled = threading.Event()
        self.began: float | None = None
        """When it was begun, by the monotonic clock; None while it is queued."""
        self.aside = 0.0
        """Seconds for which it gave way to others."""
