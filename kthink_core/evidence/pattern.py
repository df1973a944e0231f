"""Patterns: what a label claims of the text at which its feature fires, so that the claim can be tested.

Whoever can write a label can write a pattern, and it runs for everybody who looks: regular expressions are RE2's, which
takes time in proportion to the text and bounded memory, whatever the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

import re2

from kthink_core.errors import BadValue, short

LONGEST = 200
"""Characters of a pattern."""
PATIENCE = 5.0
"""Seconds that a pattern may take over all texts."""
_MEMORY = 2**20
"""Bytes of a compiled expression, at most."""

Span = tuple[int, int]
"""First and last + 1 character."""
Claim = Callable[[str], list[Span]]
"""The stretches of a text that a pattern names; none is empty, none overlaps another."""


def compiled(pattern: str) -> Claim:
    """`/…/` is a regular expression, `/…/i` one in whatever case; where it has a group, that is what it names, and the
    rest stands around it. Anything else is words, commas between them, each found as a whole word in whatever case.
    Raises BadValue."""
    text = pattern.strip()
    if len(text) > LONGEST:
        raise BadValue(f"the pattern has {len(text)} characters; {LONGEST} at most")
    return _expression(text) if text.startswith("/") else _words(text)


def spans(claim: Claim, texts: Iterable[str]) -> Iterator[list[Span]]:
    """What a pattern names in each text. Raises BadValue where it takes more than `PATIENCE` seconds in all."""
    end = monotonic() + PATIENCE
    for text in texts:
        yield claim(text)
        if monotonic() > end:
            raise BadValue(f"the pattern takes more than {PATIENCE:.0f} s: write a shorter or a plainer one")


def _expression(text: str) -> Claim:
    body, slash, flags = text[1:].rpartition("/")
    if not slash or not body or flags not in ("", "i"):
        raise BadValue(f"pattern '{short(text)}': a regular expression stands between slashes, as /[Ww]ait|Hmm/")
    options = re2.Options()
    options.max_mem, options.log_errors, options.case_sensitive = _MEMORY, False, not flags
    try:
        expression = re2.compile(body, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
        raise BadValue(f"pattern '{short(text)}' is no regular expression that RE2 takes: {reason}") from error
    group = min(expression.groups, 1)

    def claim(text: str) -> list[Span]:
        found = (match.span(group) for match in expression.finditer(text))
        return [(first, end) for first, end in found if end > first]

    return claim


def _words(text: str) -> Claim:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise BadValue("the pattern is empty: name words, such as: wait, hmm; or a regular expression: /[Ww]ait/")
    expression = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words), re.IGNORECASE)
    return lambda text: [match.span() for match in expression.finditer(text)]
