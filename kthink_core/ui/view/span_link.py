"""What a link says of a stretch of tokens. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kthink_core.errors import short

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def span(parameters: Mapping[str, str], length: int, problems: list[str]) -> tuple[int, int] | None:
    """First and last position, below `length`; None where none is named."""
    given = parameters.get("span")
    if given is None:
        return None
    ends = [int(end) for end in given.split(".")[:3] if _NUMBER.fullmatch(end)]
    if len(ends) == 2 and 0 <= ends[0] <= ends[1] < length:
        return ends[0], ends[1]
    problems.append(f"The link's span '{short(given)}' is not first.last position: showing none.")
    return None
