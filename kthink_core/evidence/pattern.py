"""Patterns: what a label claims of the text at which its feature fires, so that the claim can be tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import monotonic

import regex

from kthink_core.errors import BadValue, short

LONGEST = 200
"""Characters of a pattern."""
PATIENCE = 5.0
"""Seconds that a pattern may take over all texts: some would take for ever."""


def compiled(pattern: str) -> regex.Pattern[str]:
    """`/…/` is a regular expression, `/…/i` one in whatever case; anything else is words, commas between them, each
    found as a whole word in whatever case. Raises BadValue."""
    text = pattern.strip()
    if len(text) > LONGEST:
        raise BadValue(f"the pattern has {len(text)} characters; {LONGEST} at most")
    if text.startswith("/"):
        body, slash, flags = text[1:].rpartition("/")
        if not slash or not body or flags not in ("", "i"):
            raise BadValue(f"pattern '{short(text)}': a regular expression stands between slashes, as /[Ww]ait|Hmm/")
    else:
        words = [word.strip() for word in text.split(",") if word.strip()]
        if not words:
            raise BadValue("the pattern is empty: name words, such as: wait, hmm; or a regular expression: /[Ww]ait/")
        body, flags = "|".join(rf"(?<!\w){regex.escape(word)}(?!\w)" for word in words), "i"
    try:
        return regex.compile(body, regex.IGNORECASE if flags else 0)
    except regex.error as error:
        raise BadValue(f"pattern '{short(text)}' is no regular expression: {error}") from error


def matches(pattern: regex.Pattern[str], texts: Iterable[str]) -> Iterator[list[tuple[int, int]]]:
    """For each text: first and last + 1 character of the matches that are not empty; they do not overlap. Raises
    BadValue where it takes more than `PATIENCE` seconds in all."""
    end = monotonic() + PATIENCE
    for text in texts:
        try:
            # Other threads go on meanwhile. A timeout of nothing would mean none.
            tried = pattern.finditer(text, concurrent=True, timeout=max(end - monotonic(), 1e-3))
            spans = [match.span() for match in tried]
        except TimeoutError as error:
            raise BadValue(
                f"pattern '{short(pattern.pattern)}' takes more than {PATIENCE:.0f} s: write it without repetitions "
                "within repetitions"
            ) from error
        yield [(first, end) for first, end in spans if end > first]
