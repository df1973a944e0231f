"""A live run as a page draws it, whether it goes on, has ended, or is remembered from another day."""

from __future__ import annotations

import threading
from typing import NamedTuple

from kthink_core.live.api import Done, EncodeRequest, GenerateRequest, Kept
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.watchlist import Watch
from kthink_core.store.scopes import Scope


class RunName(NamedTuple):
    """What tells a run that is remembered from all others; empty where it is not."""

    id: str = ""
    """As links have it."""
    owner: str = ""
    """Whose it is (access/visitor_cookie.py)."""
    experiment: str = ""
    """Beside which it was run."""
    mark: str = ""
    """That experiment's."""


class RunState:
    """Of a run that goes on, read its fields under `lock`."""

    def __init__(
        self, request: GenerateRequest | EncodeRequest, watched: tuple[Watch, ...], name: RunName | None = None
    ) -> None:
        self.name = name or RunName()
        self.request, self.watched = request, watched
        self.scope: Scope = "generated" if isinstance(request, GenerateRequest) else "all"
        """What counts: all that the model wrote; of a text that was only encoded, all of it."""
        self.lock = threading.Lock()
        self.began_to_come = threading.Event()
        """Set with the first generated token, and at the end."""
        self.trace = LiveTrace()
        self.job: str | None = None
        self.going = False
        self.position: int | None = None
        """Jobs before this one, while it waits."""
        self.end: Done | None = None
        self.trouble: str | None = None
        """Why it ended without being done; None where the visitor stopped it."""
        self.refused = False
        """Whether the worker did not take it; its trouble says why."""
        self.kept: Kept | None = None
        """Where it is stored for good."""
        self.forgotten: str | None = None
        """Why it is not remembered."""
        self.past_rate: float | None = None

    @property
    def id(self) -> str:
        return self.name.id

    @property
    def text(self) -> str:
        """What was typed."""
        return self.request.prompt if isinstance(self.request, GenerateRequest) else self.request.text

    def join(self, visit: str) -> None:
        """One more visit shows it."""

    def stop(self) -> None:
        """End it, if it goes on."""

    @property
    def written(self) -> int:
        """Positions after the prompt."""
        return sum(segment != "prompt" for segment in self.trace.segments)

    @property
    def rate(self) -> float | None:
        """Generated tokens a second."""
        return self.past_rate

    @property
    def silence(self) -> float:
        """Seconds since the worker said something, be it only that the run still waits; 0 once it has ended."""
        return 0.0
