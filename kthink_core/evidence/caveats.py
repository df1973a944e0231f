"""What a contrast rests on and what there is too little of, in plain words."""

from __future__ import annotations

import pandas as pd

from kthink_core.config import Experiment
from kthink_core.errors import short
from kthink_core.evidence.divides import Between
from kthink_core.identity import settings_apart

ALPHA = 0.05
"""A feature with a smaller q is called different."""
FEW = 5
"""Inferences of a side below which intervals and spreads are hardly known."""

_NAMES: dict[Between, tuple[str, str]] = {
    "right:wrong": ("right", "wrong"),
    "think:answer": ("with thinking", "with an answer"),
    "finished:cut-off": ("finished", "cut off"),
    "before:after": ("before the word", "after the word"),
    "think:bypass": ("thinking", "bypassing"),
    "experiments": ("of this experiment", "of the other"),
}
_PAIRED = ("think:answer", "before:after")


def names(between: Between) -> tuple[str, str]:
    """What the inferences of either side are called."""
    return _NAMES[between]


def caveats(table: pd.DataFrame, between: Between) -> list[str]:
    """What to know before believing the answer of `differences.contrast`, a sentence or two each."""
    if table.empty:
        return ["No feature fires on either side."]
    row = table.iloc[0]
    numbers = dict(zip(names(between), (int(row["inferences_a"]), int(row["inferences_b"])), strict=True))
    tested, labelings = int(row["tested"]), int(row["labelings"])
    told = [
        f"Only {number} {'inference' if number == 1 else 'inferences'} {name}: "
        "what holds for so few may not hold for others."
        for name, number in numbers.items()
        if number < FEW
    ]
    if not tested:
        return [*told, _nothing_alike(between)]
    of = max(numbers.values()) if between in _PAIRED else sum(numbers.values())
    if tested < of:
        told.append(f"p and q rest on {tested} of {of} inferences: {_left_out(between)}")
    if 1 / labelings > ALPHA:
        told.append(
            f"The labels can be dealt out in {labelings} ways only, so that no p is below {1 / labelings:.2g}: "
            "nothing can have q < 0.05."
        )
    if between == "finished:cut-off":
        told.append(
            "What is cut off is longer than what finishes: p, q and the matched difference are of equally many "
            "positions from the beginning of both, the difference itself of whole traces."
        )
    if not (table["q"].to_numpy() < ALPHA).any():
        told.append(_nothing_found(table))
    return told


def differing(one: Experiment, other: Experiment) -> str:
    """The settings in which two experiments differ, as a line; empty where they are the same."""
    apart = settings_apart(one, other)
    return ", ".join(
        f"{name.replace('_', ' ')}: {short(here)} and {short(there)}" for name, (here, there) in apart.items()
    )


def _nothing_alike(between: Between) -> str:
    if between == "right:wrong":
        return (
            "No right inference has a wrong one of about its length beside it: lengths alone could make all of these "
            "differences, and nothing is tested. More samples of each problem help."
        )
    return "No inference has one of the other side that is like it: nothing is tested."


def _left_out(between: Between) -> str:
    if between in _PAIRED:
        return "the others have nothing on one of the sides."
    if between == "finished:cut-off":
        return "the others are too short, or have none of the other side of their problem."
    if between == "right:wrong":
        return (
            "the others have none of the other side of like length, or of their problem where it was run several times."
        )
    return "the others have none of the other side of their problem."


def _nothing_found(table: pd.DataFrame) -> str:
    needed = table["needed"].dropna()
    if needed.empty:
        return "No feature has q < 0.05."
    nearest = int(table["feature"].loc[needed.idxmin()])
    return (
        f"No feature has q < 0.05: shuffled labels find as much. Feature {nearest}, the nearest, would take "
        f"about {needed.min():,} inferences in these proportions, if it differs as much as it seems to; the largest of "
        "many seems more than it is."
    )
