"""What a link says of a choice among what there is. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import TypeVar

from kthink_core.errors import short

Name = TypeVar("Name", bound=str)
SHOWN = 60
"""Longest part of a text that is looked at."""
_INTEGER = re.compile(r"-?[0-9]{1,18}")


def name(
    parameters: Mapping[str, str], parameter: str, known: Collection[Name], default: Name, problems: list[str]
) -> Name:
    """The named one of `known`, the one with the nearest name, or the default."""
    given = parameters.get(parameter)
    if given is None:
        return default
    for one in known:
        if one == given:
            return one
    # Comparing takes quadratic time: a link of a megabyte must not hold the server up.
    near = get_close_matches(given[:SHOWN], known, n=1)
    nearest = next((one for one in known if [one] == near), default)
    problems.append(f"The link's {parameter} '{short(given)}' does not exist: showing '{nearest}'.")
    return nearest


def index(parameters: Mapping[str, str], parameter: str, known: Sequence[int], problems: list[str]) -> int | None:
    """The number given, the nearest of `known`, or None where it is no number or nothing is known yet."""
    given = parameters.get(parameter)
    if given is None or not known:
        return None
    if not _INTEGER.fullmatch(given):
        problems.append(f"The link's {parameter} '{short(given)}' is not a whole number: showing the first choice.")
        return None
    number = int(given)
    if number in known:
        return number
    return nearest(parameter, number, known, problems)


def nearest(parameter: str, number: int, known: Sequence[int], problems: list[str]) -> int:
    """The nearest of `known`, ascending and not empty, to a number that is not among them."""
    found = min(max(number, known[0]), known[-1])
    if found not in known:
        found = min(known, key=lambda other: abs(other - number))
    problems.append(f"The link's {parameter} {number} is not among {known[0]} to {known[-1]}: showing {found}.")
    return found


def second(parameter: str, wanted: int | None, first: int, known: Sequence[int], problems: list[str]) -> int | None:
    """What is compared with `first`: the `wanted` one, or the nearest to it; without a wish the one of the same number,
    else the first of `known`, ascending; None where nothing is known."""
    if not known:
        return None
    if wanted is None:
        return first if first in known else known[0]
    return wanted if wanted in known else nearest(parameter, wanted, known, problems)


def one_of(parameters: Mapping[str, str], parameter: str, known: Sequence[str], problems: list[str]) -> str | None:
    """The named one of `known`, or the one with the nearest name, else the first; None where none is named, or there is
    none."""
    given = parameters.get(parameter)
    if given is None:
        return None
    if known:
        return name(parameters, parameter, known, known[0], problems)
    problems.append(f"The link's {parameter} '{short(given)}' does not exist, and no other does: showing none.")
    return None
