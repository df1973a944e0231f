"""Where a branch of a trace begins, and with what."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from kthink_core.live.request import Request
from kthink_core.live.study_requests import Position, Trace


class Branch(Request):
    """Go on from a position of a trace, by the exact tokens before it."""

    trace: Trace
    position: Position = Field(description="the first that is not the trace's own")
    token_id: int | None = Field(default=None, ge=0, lt=2**31, description="what is put there; None: it is drawn")
    text: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="the same as text, of one token or several; not beside `token_id`"
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.text and self.token_id is not None:
            raise ValueError("a branch puts a token or a text in the trace's place, not both")
        return self
