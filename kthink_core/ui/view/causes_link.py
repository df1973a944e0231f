"""What a link says of the map of causes below a trace. Pure, as the rest of the link's parser."""

from __future__ import annotations

from collections.abc import Mapping

from kthink_core.errors import short

Does = tuple[str, str, str, str]
"""One of each of `CHOICES`, in their order."""

CAUSES = ("closed", "ablation", "attribution")
"""What is asked."""
WHERES = ("everywhere", "span")
"""Where a feature is set to 0."""
EXPLAINED = ("answer", "token")
"""What is explained: the final answer, or the marked token."""
MEASURES = ("probability", "runner-up", "rival")
"""What of it: its log-probability, or how far its logit is above another's."""
CHOICES = (CAUSES, WHERES, EXPLAINED, MEASURES)
DOES: Does = ("closed", "everywhere", "answer", "runner-up")
"""The default. A model is mostly certain of an answer that it has reasoned for: its probability is at its end."""


def does(parameters: Mapping[str, str], problems: list[str]) -> Does:
    """The choices that a link names, each its default where it names none that there is."""
    given = parameters.get("does")
    if given is None:
        return DOES
    parts = given[:200].split(".")
    known = len(parts) == len(CHOICES)
    found = [part if part in names else "" for part, names in zip(parts, CHOICES, strict=False)]
    if not known or not all(found):
        problems.append(f"The link's does '{short(given)}' is not known in all its parts: taking what is usual.")
    found += [""] * (len(CHOICES) - len(found))
    cause, where, explained, measure = (part or usual for part, usual in zip(found, DOES, strict=True))
    return cause, where, explained, measure
