"""Scopes: which positions of an inference count."""

from __future__ import annotations

from typing import Literal, get_args

from kthink_core.prompts import Segment

Scope = Literal["generated", "all", "prompt", "think", "answer"]

SCOPES: tuple[Scope, ...] = get_args(Scope)

SEGMENTS: tuple[Segment, ...] = get_args(Segment)
"""In the order in which they follow each other."""

SEGMENTS_OF: dict[Scope, tuple[Segment, ...]] = {
    "generated": ("think", "answer"),
    "all": ("prompt", "think", "answer"),
    "prompt": ("prompt",),
    "think": ("think",),
    "answer": ("answer",),
}
"""The segments whose positions a scope counts."""
