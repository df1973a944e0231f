"""What a link says in several numbers. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kthink_core.errors import short

SEPARATOR = "."
"""Between numbers of a list: no browser, chat or mail program writes it another way."""
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_PARTS = 60
"""Of a list that are looked at."""


def span(parameters: Mapping[str, str], length: int, problems: list[str]) -> tuple[int, int] | None:
    """First and last position, below `length`; None where none is named."""
    given = parameters.get("span")
    if given is None:
        return None
    ends = [int(end) for end in given.split(SEPARATOR)[:3] if _NUMBER.fullmatch(end)]
    if len(ends) == 2 and 0 <= ends[0] <= ends[1] < length:
        return ends[0], ends[1]
    problems.append(f"The link's span '{short(given)}' is not first{SEPARATOR}last position: showing none.")
    return None


def indices(
    parameters: Mapping[str, str], parameter: str, known: Sequence[int], most: int, problems: list[str]
) -> tuple[int, ...]:
    """Distinct numbers, as far as they are `known`, at most so many."""
    given = parameters.get(parameter)
    if given is None:
        return ()
    parts = dict.fromkeys(given.split(SEPARATOR)[:_PARTS])
    indices = [int(part) for part in parts if _NUMBER.fullmatch(part) and int(part) in known]
    if len(indices) < len(given.split(SEPARATOR)) or len(indices) > most:
        shown = SEPARATOR.join(map(str, indices[:most])) or "none"
        problems.append(
            f"The link's {parameter} '{short(given)}' is not at most {most} different numbers "
            f"from {known[0]} to {known[-1]}: showing {shown}."
        )
    return tuple(indices[:most])
