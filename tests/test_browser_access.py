"""What only a browser shows of access: a link in the address bar, the cookie, a policy that no page breaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from benchmarks.served import served
from kthink_core.access.gate import COOKIE
from kthink_core.access.invitations import Invitations
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from tests.app_samples import sample_experiment, write_experiment
from tests.browsing import Visit, settled

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    write_experiment(cache, sample_experiment("demo", 3))
    return cache


@pytest.fixture(scope="module")
def address(cache: Path) -> Iterator[str]:
    with served(cache, KTHINK_ACCESS="invitations") as address:
        yield address


def test_a_link_opens_its_view_and_is_gone_and_pages_keep_to_the_policy(
    visit: Visit, cache: Path, address: str
) -> None:
    """The console of a visit stays silent, and so does a policy that nothing breaks."""
    made = Invitations(cache).issue("Ada", "annotator", 1)
    token = Signatures(secret_key(cache, None)).link(made.id)
    view = "/inference?experiment=demo&inference=2"
    page = visit(f"/invited{view}#{token}")
    assert page.url.startswith(address + view) and token not in page.url
    assert page.evaluate("history.length") == 2  # nothing leads back to the link
    (cookie,) = [cookie for cookie in page.context.cookies() if cookie.get("name") == COOKIE]
    assert (cookie.get("httpOnly"), cookie.get("sameSite"), cookie.get("secure")) == (True, "Lax", False)
    assert page.evaluate("document.cookie").find(COOKIE) == -1
    expect(page.get_by_text("Ada: annotator")).to_be_visible()
    for other in ("feature", "reasoning", "notes"):  # charts, a component's scripts, tables
        page.goto(f"{address}/{other}")
        settled(page)
    page.get_by_role("link", name="Sign out").click()
    expect(page.get_by_text("You are signed out")).to_be_visible()
    assert [each for each in page.context.cookies() if each.get("name") == COOKIE] == []
