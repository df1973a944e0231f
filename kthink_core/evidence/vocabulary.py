"""Words of reasoning: what each line of a vocabulary stands for, and the bounds of one that somebody else wrote.

The default is that of ReasonScore (Galichin et al. 2025, arXiv 2503.18878), as its authors' public code has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kthink_core.errors import BadValue, in_words, short

DEFAULT: tuple[str, ...] = (
    "alternatively", "hmm", "maybe", "wait", "perhaps", "let me", "therefore", "however", '"But"', '"Another"',
)  # fmt: skip
MOST_WORDS, LONGEST_WORD, MOST_IDS = 100, 60, 20
MOST_BYTES = 20_000
"""Of a file."""
_IDS = re.compile(r"#[0-9]{1,9}(\s+#[0-9]{1,9})*")


class Group(NamedTuple):
    """What a line of a vocabulary stands for: texts, or the ids of consecutive tokens."""

    word: str
    """The line as it was written, without blanks around it."""
    spellings: frozenset[str]
    """Texts; empty where ids are given."""
    token_ids: tuple[int, ...] = ()


def groups(vocabulary: Iterable[str]) -> tuple[Group, ...]:
    """The groups of a vocabulary's lines, in order; lines that stand for the same are one, blank ones are none.

    A line is a word or several: it stands for its spellings with and without a space before it, all in small letters
    and with the first one large (`wait`: ` Wait`, `Wait`, ` wait`, `wait`). In double quotes it stands for nothing but
    what is between them (`"But"`). `#14190`, or `#1 #2` for consecutive ones, are token ids. Raises BadValue where
    there is none, where there are more than `MOST_WORDS`, and for a line that is too long or makes no sense.
    """
    found: dict[tuple[frozenset[str], tuple[int, ...]], Group] = {}
    for line in vocabulary:
        if line.strip():
            group = _group(line.strip())
            found.setdefault(group[1:], group)
    if not found:
        raise BadValue("the vocabulary is empty; it takes a word a line")
    if len(found) > MOST_WORDS:
        raise BadValue(f"the vocabulary has {len(found):,} words; it takes {MOST_WORDS} at most")
    return tuple(found.values())


def read_vocabulary(path: Path) -> tuple[str, ...]:
    """The lines of a file, UTF-8. Raises BadValue for one that cannot be read, is too large, or is no text; and as
    `groups` does."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadValue(f"the vocabulary cannot be read: {in_words(error)}") from error
    if len(content) > MOST_BYTES:
        raise BadValue(f"vocabulary {path} is longer than {MOST_BYTES:,} bytes; it takes a word a line")
    try:
        lines = tuple(content.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise BadValue(f"vocabulary {path}: its bytes are not UTF-8") from error
    groups(lines)
    return lines


def _group(line: str) -> Group:
    if line.startswith("#"):
        token_ids = tuple(int(part.removeprefix("#")) for part in line.split()) if _IDS.fullmatch(line) else ()
        if not 0 < len(token_ids) <= MOST_IDS:
            raise BadValue(
                f"the vocabulary's '{short(line)}' is not token ids such as #1 #2, {MOST_IDS} at most; a word that "
                "begins with # goes between double quotes"
            )
        return Group(line, frozenset(), token_ids)
    if len(line) > LONGEST_WORD + 2:
        raise BadValue(
            f"the vocabulary's '{short(line)}' has {len(line):,} characters; a word has {LONGEST_WORD} at most"
        )
    if len(line) > 2 and line[0] == line[-1] == '"':
        return Group(line, frozenset([line[1:-1]]))
    small = line.lower()
    cases = small, small[:1].upper() + small[1:]
    return Group(line, frozenset(space + word for space in ("", " ") for word in cases))
