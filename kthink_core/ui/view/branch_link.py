"""What a link says of a branch. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kthink_core.errors import short

_PART = re.compile(r"[0-9]{1,9}")


def branch(parameters: Mapping[str, str], problems: list[str]) -> tuple[int, ...]:
    """Its first position, and the id of the token that is put there, if one is; empty: there is none."""
    given = parameters.get("branch")
    if given is None:
        return ()
    parts = given.split(".")[:3]
    if len(parts) <= 2 and all(map(_PART.fullmatch, parts)):
        return tuple(map(int, parts))
    problems.append(f"The link's branch '{short(given)}' is not a position, or one with a token id: showing none.")
    return ()
