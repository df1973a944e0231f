"""What a link says of a training. Pure, as the rest of the link's parser."""

from __future__ import annotations

from collections.abc import Mapping

from kthink_core.config import check_name
from kthink_core.errors import BadValue, short


def name(parameters: Mapping[str, str], problems: list[str]) -> str:
    """The name of a folder of the cache, whether it is there or not; empty where the link names none. Adds a line where
    it can be none."""
    given = parameters.get("training", "")
    try:
        if given:
            check_name(given)
    except BadValue:
        problems.append(f"The link's training '{short(given)}' can be the name of none: showing the newest.")
        return ""
    return given
