"""What a link says of a ReasonScore: its vocabulary, window and alpha. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kthink_core.errors import encodable, short
from kthink_core.evidence.matches import WIDEST, WINDOW, Window
from kthink_core.evidence.reason_score import ALPHA, LARGEST_ALPHA

MOST = 1000
"""Longest vocabulary, in characters."""
_WINDOW = re.compile(r"([0-9]{1,2})\.([0-9]{1,2})")
_ALPHA = re.compile(r"[0-9]{1,2}(\.[0-9]{1,20})?(e-[0-9]{1,3})?")


def words(parameters: Mapping[str, str], problems: list[str]) -> str:
    """A vocabulary, a word a line; empty where the link names none. Adds a line where it was no text, or too long."""
    given = parameters.get("words", "")
    if len(given) <= MOST and encodable(given) == given:
        return given
    problems.append(
        f"The link's words '{short(given[:60])}' are no text of at most {MOST:,} characters: taking ReasonScore's own."
    )
    return ""


def window(parameters: Mapping[str, str], problems: list[str]) -> Window:
    """Positions to the left and to the right; likewise."""
    given = parameters.get("window")
    found = None if given is None else _WINDOW.fullmatch(given)
    reach = WINDOW if found is None else (int(found[1]), int(found[2]))
    if given is None or (found is not None and max(reach) <= WIDEST):
        return reach
    problems.append(f"The link's window '{short(given)}' is not left.right, each from 0 to {WIDEST}: taking 1.2.")
    return WINDOW


def alpha(parameters: Mapping[str, str], problems: list[str]) -> float:
    """The weight of the entropy; likewise."""
    given = parameters.get("alpha")
    if given is None:
        return ALPHA
    if _ALPHA.fullmatch(given) and float(given) <= LARGEST_ALPHA:
        return float(given)
    problems.append(f"The link's alpha '{short(given)}' is not a number from 0 to {LARGEST_ALPHA:g}: taking {ALPHA:g}.")
    return ALPHA
