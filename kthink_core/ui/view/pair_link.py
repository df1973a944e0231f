"""What a link says of two sides beyond their inferences. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from kthink_core.errors import short

PAIRS = ("inferences", "spans")
"""What is compared by a link that says so."""
_PART = re.compile(r"0|[1-9][0-9]{0,6}")


class Pair(NamedTuple):
    """Two inferences, or two spans of one or two."""

    what: str = ""
    """One of `PAIRS`; empty: it follows from the rest of the link."""
    span: tuple[int, int] | None = None
    """First and last position on the second side."""
    there: int | None = None
    """The inference of another experiment."""


NONE = Pair()


def pair_text(pair: Pair) -> str:
    """`spans`, then the span's two positions, then the inference, each if there is one."""
    numbers = [*(pair.span or ()), *(() if pair.there is None else (pair.there,))]
    return ".".join([pair.what, *map(str, numbers)])


def pair(parameters: Mapping[str, str], problems: list[str]) -> Pair:
    """The pair that a link names; `NONE` where it names none that there can be."""
    given = parameters.get("pair")
    if given is None:
        return NONE
    what, *numbers = given.split(".")[:5]
    if what in PAIRS and len(numbers) <= 3 and all(map(_PART.fullmatch, numbers)):
        whole = [int(number) for number in numbers]
        span = (whole[0], whole[1]) if len(whole) >= 2 else None
        if span is None or span[0] <= span[1]:
            return Pair(what, span, whole[-1] if len(whole) in (1, 3) else None)
    problems.append(f"The link's pair '{short(given)}' does not say what is compared: taking what is usual.")
    return NONE
