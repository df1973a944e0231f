"""Where a word stands in traces, and the positions just before and just after it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

REACH = 3
"""Positions on either side of a word that are looked at."""
LONGEST = 60
"""Characters of a word."""


class Around(NamedTuple):
    """Positions of one inference, ascending, each on one side only."""

    before: list[int]
    after: list[int]


def pattern(word: str) -> re.Pattern[str]:
    """What finds a word: as written, in lower case, and in title case of its first letter; no part of a longer word."""
    spellings = dict.fromkeys((word, word.lower(), word[:1].upper() + word[1:].lower()))
    either = "|".join(map(re.escape, spellings))
    opens, closes = (
        rf"(?{look}\w)" if re.match(r"\w", end) else "" for look, end in (("<!", word[0]), ("!", word[-1]))
    )
    return re.compile(f"{opens}(?:{either}){closes}")


def around(texts: Sequence[str], found: re.Pattern[str], first: int = 0) -> Around:
    """The positions within `REACH` of each place where the tokens' texts, put together, have the word; `first` is that
    of the first token.

    The word must begin and end with a token, a leading space aside. Its own tokens are on neither side, nor is what
    lies before one occurrence and after another.
    """
    starts = list(accumulate(map(len, texts), initial=0))
    begins, ends = ({} for _ in range(2))
    for token, text in enumerate(texts):
        if text:
            begins[starts[token] + (text[0] == " " and len(text) > 1)] = begins[starts[token]] = token
            ends[starts[token + 1]] = token
    word: set[int] = set()
    before: set[int] = set()
    after: set[int] = set()
    for match in found.finditer("".join(texts)):
        opens, closes = begins.get(match.start()), ends.get(match.end())
        if opens is None or closes is None:
            continue
        word.update(range(opens, closes + 1))
        before.update(range(max(opens - REACH, 0), opens))
        after.update(range(closes + 1, min(closes + REACH + 1, len(texts))))
    apart = (before - word - after, after - word - before)
    return Around(*(sorted(first + token for token in side) for side in apart))
