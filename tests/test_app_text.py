"""Text of others on the app's pages: nothing hidden, nothing interpreted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kthink_core.ui.parts.writing import plain, token_label, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" Okay", "·Okay"),
        ("Okay", "Okay"),
        ("   ", "···"),
        ("", "∅"),
        ("\n\n", "⏎⏎"),
        (" a b ", "·a b·"),
        ("\t", "⇥"),
        ("a\0b", "a\\u0000b"),
        ("\u202eevil", "\\u202eevil"),
        ("\ud800", "\\ud800"),
        ("🙂", "🙂"),
        ("</span>", "</span>"),
    ],
)
def test_a_token_hides_nothing(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert token_label(text, 7) == f"{shown}:7"


@given(some.text(some.characters(categories=None)))
def test_a_token_is_one_line_that_json_can_carry(text: str) -> None:
    shown = visible(text)
    assert shown.encode("utf-8")
    assert shown
    assert not set("\n\r\t\0\u202e") & set(shown)


@pytest.mark.parametrize(
    "text", ["**b**", "$x$", "[a](b)", "<b>", ":red[x]", "`c`", "# h", "a_b_c", "![i](u)", "| t |"]
)
def test_markdown_is_escaped(text: str) -> None:
    escaped = plain(text)
    assert escaped.replace("\\", "").replace("\u2060", "") == text
    for at, character in enumerate(escaped):
        assert character not in "*$[]()<>:`#_!|" or escaped[at - 1] == "\\"


def test_addresses_do_not_become_links() -> None:
    for address in ("http://a.b", "www.a.b", "a@b.c"):
        assert address not in plain(address).replace("\\", "")
