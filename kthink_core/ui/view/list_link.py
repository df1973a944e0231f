"""What a link says of a list of features. Pure, as the rest of the link's parser.

list    ID~HOOKPOINT~FEATURE.FEATURE…   the list, and the first of what it holds at that hookpoint: whoever has no
        such list sees these. Either part may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kthink_core.errors import short
from kthink_core.ui.view.number_link import SEPARATOR

MOST = 100
"""Features that a link holds, and rows of the matrix."""
_BETWEEN = "~"
_ID = re.compile(r"[a-z0-9]{12}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_LONGEST = 2000
"""Characters that are looked at."""


class ListLink(NamedTuple):
    id: str = ""
    """Empty: no list, only features."""
    hookpoint: str = ""
    """That of the features; empty where there are none."""
    features: tuple[int, ...] = ()


NONE = ListLink()


def list_text(link: ListLink) -> str:
    """As `features_list` reads it."""
    if not link.features:
        return link.id
    return _BETWEEN.join((link.id, link.hookpoint, SEPARATOR.join(map(str, link.features))))


def features_list(parameters: Mapping[str, str], latents: Mapping[str, int], problems: list[str]) -> ListLink:
    """The list of a link. `latents`: number of features by hookpoint. Adds a line where some of it makes no sense."""
    given = parameters.get("list")
    if given is None:
        return NONE
    id, *rest = given[:_LONGEST].split(_BETWEEN)
    known = id if _ID.fullmatch(id) else ""
    hookpoint, numbers = rest if len(rest) == 2 and rest[0] in latents else ("", "")
    parts = numbers.split(SEPARATOR) if numbers else []
    features = tuple(dict.fromkeys(_within(parts, latents.get(hookpoint, 0))))[:MOST]
    nothing = not features and (rest or not known)
    if known != id or len(features) < len(parts) or nothing or len(given) > _LONGEST:
        shown = f"{len(features)} of its features" if features else "the list alone" if known else "no list"
        problems.append(
            f"The link's list '{short(given)}' is not a list, with at most {MOST} features of a hookpoint: taking "
            f"{shown}."
        )
    return ListLink(known, hookpoint if features else "", features)


def _within(parts: Sequence[str], size: int) -> list[int]:
    return [int(part) for part in parts if _NUMBER.fullmatch(part) and int(part) < size]
