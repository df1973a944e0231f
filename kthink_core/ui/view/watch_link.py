"""What a link says of watched features. Pure, as the rest of the link's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from kthink_core.errors import short

PAIRS, PARTS = "~", "_"
"""Between the watched features, and between one and its threshold: no chat or mail program writes them another way."""
_FEATURE = re.compile(r"[0-9]{1,18}")
_THRESHOLD = re.compile(r"[0-9]{1,18}(\.[0-9]{1,30})?(e-[0-9]{1,3})?")
_LONGEST = 1200
"""Characters that are looked at."""


def watch(
    parameters: Mapping[str, str], features: Sequence[int], most: int, problems: list[str]
) -> tuple[tuple[int, float], ...]:
    """Distinct features with their thresholds, as far as they make sense, at most so many. Adds a line where some do
    not."""
    given = parameters.get("watch")
    if given is None:
        return ()
    found: dict[int, float] = {}
    pairs = [pair.split(PARTS) for pair in given[:_LONGEST].split(PAIRS)]
    for feature, threshold in (pair for pair in pairs if len(pair) == 2):
        if _FEATURE.fullmatch(feature) and int(feature) in features and _THRESHOLD.fullmatch(threshold):
            found.setdefault(int(feature), float(threshold))
    kept = tuple(found.items())[:most]
    if len(kept) < len(pairs):
        problems.append(
            f"The link's watch '{short(given)}' is not at most {most} different features, each with its "
            f"threshold, such as 3{PARTS}1.5{PAIRS}7{PARTS}0: watching {len(kept)} of them."
        )
    return kept
