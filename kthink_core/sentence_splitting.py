"""A thought cut into sentences over its tokens: each is a run of whole tokens, and together they are all of them.

A sentence ends at `.`, `!`, `?` or `…` before a space or the end, and at every new line; not inside a number (3.5), at
the number of a list's item, nor at an abbreviation. A rule of our own: libraries split clean prose by character and
give it back changed, while a thought is words and sums, line by line, and what counts is after which token it ends.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

from kthink_core.prompts import THINK_CLOSE, Segment
from kthink_core.records import FinishReason

_END = re.compile(r"""(?P<mark>\.+|…|[!?][.!?]*)["'”’)\]*_]*(?=\s|$)|[。！？]+|\n""")
_ITEM = re.compile(r"(?:^|\n)[ \t*#>-]*(?:\d{1,3}|[A-Za-z])$")
_NEVER = re.compile(r"(?<![\w.])(?:Mrs?|Ms|Dr|Prof|St|vs|e\.g|i\.e|cf|approx|resp)$", re.IGNORECASE)
_BEFORE_DIGIT = re.compile(r"(?<![\w.])(?:Nos?|Figs?|Eqs?|Sec|Ch|Vol|pp?)$", re.IGNORECASE)
_BEFORE_LOWER = re.compile(r"(?<![\w.])(?:etc|al|a\.m|p\.m|U\.S)$", re.IGNORECASE)
_LONGEST = 12
"""Characters before a full stop that are looked at."""


class Sentence(NamedTuple):
    """Positions of a sentence, both of them its own."""

    first: int
    last: int


def thought(texts: Sequence[str], segments: Sequence[Segment], finish_reason: FinishReason) -> range:
    """The positions of a trace's thought, without the `</think>`, or the end token, that ends it. Empty where the model
    did not think. texts, segments: [positions], the whole trace."""
    positions = [position for position, segment in enumerate(segments) if segment == "think"]
    if not positions:
        return range(0)
    first, end = positions[0], positions[-1] + 1
    closing = next((at for at in range(end - 1, first - 1, -1) if "".join(texts[at:end]) == THINK_CLOSE), None)
    if closing is not None:
        end = closing
    elif finish_reason == "stop" and end == len(segments):
        end -= 1
    return range(first, end)


def sentences(texts: Sequence[str], first: int = 0) -> list[Sentence]:
    """The sentences of a stretch of tokens, in order; `first`: the position of the first token.

    White space belongs to what it follows; a piece without a letter or a digit belongs to the sentence after it, and
    the last such piece to the one before it.
    """
    after = list(accumulate(map(len, texts)))  # [tokens] where in the text each ends
    last_said = max((token for token, text in enumerate(texts) if _says(text)), default=0)
    starts, token = [0], 0
    for end in _ends("".join(texts)):
        while after[token] < end or (token + 1 < len(texts) and texts[token + 1].isspace()):
            token += 1
        if token < last_said and _says("".join(texts[starts[-1] : token + 1])):
            starts.append(token + 1)
    return [Sentence(first + begin, first + end - 1) for begin, end in pairwise([*starts, len(texts)]) if end > begin]


def _says(piece: str) -> bool:
    return re.search(r"\w", piece) is not None


def _ends(text: str) -> list[int]:
    """Where sentences end in a text: the offsets just after, ascending."""
    return [match.end() for match in _END.finditer(text) if not _goes_on(text, match)]


def _goes_on(text: str, match: re.Match[str]) -> bool:
    """Whether what looks like an end is none."""
    mark = match["mark"]
    if mark is None or mark[0] in "!?":
        return False
    follows = text[match.end() :].lstrip(" ")[:1]
    if mark != ".":
        return follows.islower()
    line = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
    before = line[-_LONGEST:]
    return bool(
        (follows not in ("", "\n") and (_NEVER.search(before) or (len(line) <= _LONGEST and _ITEM.search(line))))
        or (follows.isdigit() and _BEFORE_DIGIT.search(before))
        or (follows.islower() and _BEFORE_LOWER.search(before))
    )
