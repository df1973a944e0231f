"""Text of others on the app's pages: nothing hidden, nothing interpreted."""

from __future__ import annotations

import pytest

from kthink_core.ui.parts.writing import plain


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


def test_nothing_is_hidden_in_markdown() -> None:
    assert plain("a\u202eb\u200b") == r"a\\u202eb\\u200b"
