"""Links of the app, as somebody copied them, and links as a saved page tells them."""

from __future__ import annotations

import shlex
from typing import Literal, get_args
from urllib.parse import parse_qsl, urlencode, urlsplit

from kthink_core.errors import BadValue, short
from kthink_core.ui.view.permalink import View, format_view

Kind = Literal["inference", "feature", "across", "compare"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Pages of the app that can be saved."""


def read_link(link: str) -> tuple[Kind, dict[str, str]]:
    """The page and the query parameters of a link: a whole address, under whatever path the app is served, or its last
    part, as `inference?experiment=demo`. Raises BadValue."""
    try:
        parts = urlsplit(link.strip())
        parameters = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=200))
    except ValueError as error:
        raise BadValue(f"'{short(link)}' is no link: {error}") from error
    name = parts.path.rstrip("/").rpartition("/")[2]
    for kind in KINDS:
        if kind == name:
            return kind, parameters
    raise BadValue(f"'{short(link)}' does not lead to one of the pages {', '.join(KINDS)}")


def link(kind: Kind, view: View) -> str:
    """The last part of the address of a view."""
    return f"{kind}?{urlencode(format_view(view))}"


def command(kind: Kind, view: View) -> str:
    """What makes the page of a view again, in a shell."""
    return f"python -m kthink_core save-view {shlex.quote(link(kind, view))} OUT.html"
