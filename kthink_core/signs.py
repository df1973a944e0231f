"""How the text of a token is written where people read it: on one line, with nothing hidden.

The pages' scripts write by the same rules (ui/transcript/text.js); tests/token_texts.json has the cases of both. The
sets of characters are spelled out: what Python and a browser know of Unicode are different versions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# Controls but tab and newline; what prints as nothing or turns the direction of the text around it: soft hyphen, marks
# of direction, zero widths, fillers of Hangul, Khmer and Mongolian, byte order mark, annotations, formats of notations,
# tags; separators of lines; halves of surrogate pairs; the blank of Braille. Arabic signs that do print are none.
_HIDDEN = re.compile(
    "[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u2800\u3164\ud800-\udfff\ufeff\uffa0\ufff0-\ufffb\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
# They change the look of the character before them, as emoji and Persian need it; elsewhere they hide.
_JOINERS, _VARIANTS = "\u200c\u200d", "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_NOTHING_BUT_JOINTS = re.compile(f"[{_JOINERS}{_VARIANTS}]+")
_STRAY = re.compile(f"(?<![^{_JOINERS}{_VARIANTS}])[{_VARIANTS}]|(?<=[{_JOINERS}])[{_JOINERS}]")
_SPACES = re.compile("[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_DOTTED = re.compile(r"^ +| +\Z| {2,}")
_PLAIN = re.compile("[!-~]+(?: [!-~]+)*")
"""What most tokens are: nothing in it is written otherwise."""

_UNIT = re.compile(r"\\x([89a-f][0-9a-f])|.", re.DOTALL)


class _Unit(NamedTuple):
    token: int
    text: str
    byte: int | None
    """What `text` is the escape of, if it is one."""


def revealed(text: str) -> str:
    """The text with hidden characters spelled by their code, `\\u200b` or `\\u{e0041}`. Tabs and newlines stay."""
    if _NOTHING_BUT_JOINTS.fullmatch(text):
        return "".join(map(_code, text))
    return _HIDDEN.sub(_spelled, _STRAY.sub(_spelled, text))


def visible(text: str) -> str:
    """The text on one line with nothing hidden: spaces at its ends, and several on end, `·`; other kinds of spaces `⍽`;
    newlines `⏎`, tabs `⇥`; an empty one `∅`."""
    if _PLAIN.fullmatch(text):
        return text
    line = _SPACES.sub("⍽", _DOTTED.sub(lambda run: "·" * len(run.group()), revealed(text)))
    return line.replace("\n", "⏎").replace("\t", "⇥") or "∅"


def whole(texts: Sequence[str], mark: str = "") -> list[str]:
    """The texts of consecutive tokens, with the characters that are spread over several of them put together: each in
    the last of its tokens; the others have `mark` in the place of their bytes.

    Stored texts have bytes that are no UTF-8 by themselves as `\\xe2` (`language_model.token_text`). That cannot be
    told, from the text alone, from a token whose own text is `\\xe2`. So only what can come about by that is put
    together: two digits, small letters, no ASCII, bytes that are one character's UTF-8 when joined and not within one
    token. What remains is a model that writes about bytes in such tokens, one after the other: they would read as the
    character.
    """
    found = list(texts)
    first = 0
    while first < len(found):
        last = first
        while last < len(found) and "\\x" in found[last]:
            last += 1
        if last > first + 1:
            found[first:last] = _joined(found[first:last], mark)
        first = last + 1
    return found


def _joined(texts: Sequence[str], mark: str) -> list[str]:
    units = [
        _Unit(token, unit.group(), int(unit[1], 16) if unit[1] else None)
        for token, text in enumerate(texts)
        for unit in _UNIT.finditer(text)
    ]
    written: list[list[str]] = [[] for _ in texts]
    at = 0
    while at < len(units):
        group = units[at : at + _length(units[at].byte)]
        character = _character(group)
        if character is None:
            group = group[:1]
            written[group[0].token].append(group[0].text)
        else:
            for token in range(group[0].token, group[-1].token):
                written[token].append(mark)
            written[group[-1].token].append(character)
        at += len(group)
    return ["".join(parts) for parts in written]


def _length(byte: int | None) -> int:
    """How many bytes a character has that begins with this one; 1 for what begins none."""
    if byte is None or byte < 0xC2 or byte > 0xF4:
        return 1
    return 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4


def _character(group: Sequence[_Unit]) -> str | None:
    """The character of these bytes; None where they are none, or all of one token, which would have it as it is."""
    values = [unit.byte for unit in group if unit.byte is not None]
    if len(values) < 2 or len(values) < len(group) or group[0].token == group[-1].token:
        return None
    try:
        return bytes(values).decode("utf-8")
    except UnicodeDecodeError:
        return None


def _spelled(found: re.Match[str]) -> str:
    return _code(found.group())


def _code(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\u{{{point:x}}}"
