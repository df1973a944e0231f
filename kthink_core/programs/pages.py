"""An answer by pages: which part of it, in which form, and whether the caller has it already."""

from __future__ import annotations

import hashlib
import json
from typing import Literal
from urllib.parse import urlencode

from pydantic import Field
from starlette.datastructures import Headers, QueryParams
from starlette.responses import Response

import kthink_core
from kthink_core import cells
from kthink_core.listing import Answered, as_json
from kthink_core.programs.given_options import Given

MOST_ROWS = 10_000
"""Of a page."""


class Paging(Given):
    """What every query is asked with besides its own options."""

    limit: int = Field(default=1000, ge=1, le=MOST_ROWS, description="most rows of this page")
    offset: int = Field(default=0, ge=0, lt=2**31, description="rows that are left out before it")
    format: Literal["json", "csv"] = Field(default="json", description="csv: rows only, where the next are as a header")
    version: str | None = Field(
        default=None, pattern=r"^[0-9a-f-]{1,40}$", description="of the rows before, so that these belong to them"
    )


def mark(*content: object) -> str:
    """The entity tag of what is answered, which differs wherever the content does. Weak: who compresses keeps it."""
    told = repr((kthink_core.__version__, *content))
    return f'W/"{hashlib.sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:32]}"'


def has_it(headers: Headers, tag: str) -> bool:
    """Whether the caller holds what has this tag (RFC 9110, 13.1.2)."""
    given = headers.get("if-none-match", "")
    known = {each.strip().removeprefix("W/") for each in given.split(",")}
    return given.strip() == "*" or tag.removeprefix("W/") in known


def page(found: Answered, given: Paging, version: str, path: str, query: QueryParams) -> Response:
    """The rows that were asked for. `path`: the last part of the address that they are at."""
    total, end = len(found.table), given.offset + given.limit
    rows = found.table.iloc[given.offset : end]
    following = _following(path, query, end, version) if end < total else None
    headers = {} if following is None else {"link": f'<{following}>; rel="next"'}
    if given.format == "csv":
        return Response(cells.as_csv(rows), headers=headers, media_type="text/csv; charset=utf-8")
    told = {"total": total, "offset": given.offset, "next": following, "version": version, "remarks": found.remarks}
    rest = json.dumps(told, ensure_ascii=False, separators=(",", ":"))[1:]
    return Response(f'{{"rows":{as_json(rows)},{rest}', headers=headers, media_type="application/json")


def _following(path: str, query: QueryParams, offset: int, version: str) -> str:
    """Where the next rows are, relative, so that it holds behind any proxy."""
    kept = [(name, value) for name, value in query.multi_items() if name not in ("offset", "version")]
    return f"{path}?{urlencode([*kept, ('offset', offset), ('version', version)])}"
