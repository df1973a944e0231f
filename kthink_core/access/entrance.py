"""The page that a link of an invitation opens. The token stands behind the `#` of the link, which no browser sends: the
page posts it, so that it is in no address that a server, a proxy or a program that looks at links writes down.

The rest of the link is what it leads to: `/invited/inference?experiment=demo#TOKEN`.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from starlette.types import Receive

from kthink_core.access.signatures import LONGEST

INVITED = "/invited/"
FIELD = "token"
_PLACE = re.compile(r"[a-z]{0,20}", re.ASCII)
_MOST_BYTES = LONGEST + 1000
"""Of what is posted."""

PAGE = """<form method="post"><input type="hidden" name="token"></form><p>Opening the invitation …
<noscript>This takes JavaScript, as all of kthink does.</noscript></p>
<script>
const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname + location.search);
if (token) {
  document.querySelector("input").value = token;
  document.querySelector("form").submit();
} else {
  document.querySelector("p").textContent = "This link lacks its end, from the # on: copy the whole of it.";
}
</script>"""
"""HTML. The address loses the token before anything is sent, and the history with it."""


def leads_to(path: str, base: str) -> str | None:
    """The page of the app that the path of a link leads to, empty for the first one; None where it is no such link.
    `base`: the path that the app lies under."""
    start = base + INVITED
    place = path.removeprefix(start)
    return place if path.startswith(start) and _PLACE.fullmatch(place) else None


async def posted_token(receive: Receive) -> str | None:
    """The token of a posted form; None where it is longer than any, or the visitor is gone."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        if len(body) > _MOST_BYTES:
            return None
        if not message.get("more_body", False):
            break
    fields = dict(parse_qsl(body.decode("latin-1"), max_num_fields=10) if body.count(b"&") < 10 else [])
    return fields.get(FIELD, "")
