"""A view of the app as query parameters, and back. Pure: knows nothing of Streamlit.

Whatever a link holds, `parse` returns a valid view, and says in one line a parameter what it could not take.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from kthink_core.store.scopes import SCOPES, Scope

Name = TypeVar("Name", bound=str)

DEFAULT_SCOPE: Scope = "generated"
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_SHOWN = 60
"""Longest part of a nonsense value that a message repeats."""


@dataclass(frozen=True)
class View:
    """All that a person has chosen."""

    experiment: str
    hookpoint: str
    inference: int = 0
    scope: Scope = DEFAULT_SCOPE
    feature: int | None = None
    """None: the page takes the feature that matters most."""


@dataclass(frozen=True)
class Bounds:
    """What can be chosen in one experiment."""

    experiment: str
    inferences: Sequence[int]
    """Those committed, ascending; there may be gaps."""
    latents: dict[str, int]
    """Number of features by hookpoint, in the order of the experiment; never empty."""


def format_view(view: View) -> dict[str, str]:
    """The query parameters of a view."""
    parameters = {
        "experiment": view.experiment,
        "inference": str(view.inference),
        "hookpoint": view.hookpoint,
        "scope": view.scope,
    }
    return parameters if view.feature is None else parameters | {"feature": str(view.feature)}


def parse_experiment(parameters: Mapping[str, str], names: Collection[str], default: str) -> tuple[str, list[str]]:
    """The experiment that a link names, else `default`, else the first of `names`; and what was wrong with the link."""
    problems: list[str] = []
    fallback = default if default in names else next(iter(names))
    return _name(parameters, "experiment", names, fallback, problems), problems


def parse(parameters: Mapping[str, str], bounds: Bounds) -> tuple[View, list[str]]:
    """The view that a link names within `bounds`, or the nearest one; and what was wrong with the link."""
    problems: list[str] = []
    # The deepest is the default: features of the first layers tell of tokens more than of what is done with them.
    hookpoint = _name(parameters, "hookpoint", bounds.latents, next(reversed(bounds.latents)), problems)
    scope: Scope = _name(parameters, "scope", SCOPES, DEFAULT_SCOPE, problems)
    inference = _index(parameters, "inference", bounds.inferences, problems)
    feature = _index(parameters, "feature", range(bounds.latents[hookpoint]), problems)
    if inference is None:
        inference = bounds.inferences[0] if bounds.inferences else 0
    return View(bounds.experiment, hookpoint, inference, scope, feature), problems


def _name(
    parameters: Mapping[str, str], parameter: str, known: Collection[Name], default: Name, problems: list[str]
) -> Name:
    """The named one of `known`, the one with the nearest name, or the default."""
    given = parameters.get(parameter)
    if given is None:
        return default
    for name in known:
        if name == given:
            return name
    # Comparing takes quadratic time: a link of a megabyte must not hold the server up.
    near = get_close_matches(given[:_SHOWN], known, n=1)
    nearest = next((name for name in known if [name] == near), default)
    problems.append(f"The link's {parameter} '{_short(given)}' does not exist: showing '{nearest}'.")
    return nearest


def _index(parameters: Mapping[str, str], parameter: str, known: Sequence[int], problems: list[str]) -> int | None:
    """The number given, the nearest of `known`, or None where it is no number or nothing is known yet."""
    given = parameters.get(parameter)
    if given is None or not known:
        return None
    if not _INTEGER.fullmatch(given):
        problems.append(f"The link's {parameter} '{_short(given)}' is not a whole number: showing the first choice.")
        return None
    index = int(given)
    if index in known:
        return index
    nearest = min(max(index, known[0]), known[-1])
    if nearest not in known:
        nearest = min(known, key=lambda other: abs(other - index))
    problems.append(f"The link's {parameter} {given} is not among {known[0]} to {known[-1]}: showing {nearest}.")
    return nearest


def _short(given: str) -> str:
    return given if len(given) <= _SHOWN else given[:_SHOWN] + "…"
