"""A live run as it is remembered: what was asked, what was watched, how it came out, and all that came.

A file has it: a line of JSON, which a list needs, then the trace, compressed, as one event of the worker's API.
"""

from __future__ import annotations

import re
import secrets
import zlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kthink_core.live.api import Done, EncodeRequest, GenerateRequest, Kept, Tokens
from kthink_core.live.live_trace import LiveTrace
from kthink_core.live.watchlist import Watch

RUN_ID = re.compile(r"[0-9a-f]{32}")
"""128 random bits: who has it was given it."""
State = Literal["going", "done", "stopped", "failed"]
_MOST_TRACE = 1_000_000_000
"""Bytes of a trace that is read."""


def new_run_id() -> str:
    return secrets.token_hex(16)


class Remembered(BaseModel):
    """All but the trace."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    run: str
    """Its id, as links have it."""
    began: float
    """Seconds since 1970."""
    experiment: str
    """Beside which it was run."""
    mark: str
    """That experiment's."""
    request: GenerateRequest | EncodeRequest
    watched: tuple[Watch, ...] = ()
    reference: str | None = None
    """The right answer, where it is known."""
    correct: bool | None = None
    state: State = "going"
    job: str | None = None
    """The worker's name of it."""
    tokens: int = 0
    """That were generated; of a text that was only encoded, all."""
    rate: float | None = None
    """Generated tokens a second."""
    end: Done | None = None
    trouble: str | None = None
    """Why it ended without being done; None where the visitor stopped it."""
    kept: Kept | None = None
    """Where it is stored for good."""

    @property
    def text(self) -> str:
        """What was typed."""
        return self.request.prompt if isinstance(self.request, GenerateRequest) else self.request.text


def written(remembered: Remembered, trace: LiveTrace | None) -> bytes:
    """The content of its file."""
    body = b"" if trace is None else zlib.compress(trace.whole().model_dump_json().encode(), 1)
    return header(remembered) + body


def header(remembered: Remembered) -> bytes:
    """The first line of its file."""
    return remembered.model_dump_json().encode() + b"\n"


def read_header(line: bytes) -> Remembered | None:
    """What a first line says; None where it makes no sense."""
    try:
        return Remembered.model_validate_json(line)
    except ValidationError:
        return None


def read_trace(body: bytes) -> LiveTrace | None:
    """What follows the first line; None where it is damaged."""
    trace = LiveTrace()
    if body:
        unpacking = zlib.decompressobj()
        try:
            content = unpacking.decompress(body, _MOST_TRACE)
            trace.add(Tokens.model_validate_json(content))
        except (zlib.error, ValidationError):
            return None
    return trace
