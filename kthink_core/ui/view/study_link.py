"""What a link says of a stored study."""

from __future__ import annotations

import re
from collections.abc import Mapping

from kthink_core.errors import short

_ID = re.compile(r"[0-9a-f]{12}")


def study(parameters: Mapping[str, str], parameter: str, problems: list[str]) -> str:
    """Its id; empty where none is named."""
    given = parameters.get(parameter, "")
    if not given or _ID.fullmatch(given):
        return given
    problems.append(f"The link's {parameter} '{short(given)}' is not twelve hexadecimal digits: showing the newest.")
    return ""
