"""Links of invitations: where they lead, and the token at their end."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit

from kthink_core.access.admission import PARAMETER
from kthink_core.access.entrance import INVITED, leads_to
from kthink_core.errors import BadValue, short


def invitation_address(
    app: str, view: str, experiment: str | None, base_path: str = "", *, elsewhere: bool = True
) -> str:
    """Up to the token, which belongs behind a `#`. `app`: the address of the app, without a slash at its end, where
    the view has none; `view`: a link of the app, or empty; `experiment`: the only one that the invitation shows;
    `elsewhere`: whether a view may name another host than `app`, as where nobody said how others reach the app.

    Raises BadValue for a view that is no link of the app, or that the invitation does not show.
    """
    try:
        given = urlsplit(view.strip())
        query = [pair for pair in parse_qsl(given.query, keep_blank_values=True) if pair[0] != PARAMETER]
    except ValueError as error:
        raise BadValue(f"'{short(view)}' is no link: {error}") from error
    if given.scheme not in ("", "http", "https") or given.fragment or (given.scheme and not given.netloc):
        raise BadValue("give a link that `Copy link` gave, such as http://host:8501/inference?experiment=demo")
    if given.netloc and not elsewhere and given.netloc != urlsplit(app).netloc:
        raise BadValue(f"'{short(given.netloc)}' is not where the app is: {app}")  # it would be sent the token
    named = dict(query).get("experiment", experiment)
    if experiment is not None and named != experiment:
        raise BadValue(f"the link shows experiment '{short(named or '')}', the invitation '{experiment}' only")
    if not view.strip() and experiment is not None:
        query = [("experiment", experiment)]
    path = f"{given.path}/" if given.path == base_path else given.path
    before, _, page = path.rpartition("/")
    if leads_to(f"{INVITED}{page}", "") is None:
        raise BadValue(f"the app has no page '{short(page)}'")
    base = f"{given.scheme}://{given.netloc}{before}" if given.scheme else app
    return f"{base}{INVITED}{page}{'?' if query else ''}{urlencode(query)}"
