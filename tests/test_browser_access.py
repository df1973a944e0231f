"""What only a browser shows of access: a link in the address bar, the cookie, a policy that no page breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from benchmarks.served import served
from kthink_core.access.gate import COOKIE
from kthink_core.access.invitations import Invitations
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.notes import FILE, FeatureSubject, InferenceSubject, Notebook, SpanSubject
from kthink_core.ui.view.permalink import View
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.browsing import Visit, settled

pytestmark = pytest.mark.browser


SCRIPT = "</script><img src=x onerror='owned=1'><script>owned=1</script>[a](javascript:owned=1) :red[b] $c$"
"""What a text would do if it were more than text."""
MADE = """() => {
    const all = (root) => [...root.querySelectorAll("*")].flatMap(
        (each) => [each, ...(each.shadowRoot ? all(each.shadowRoot) : [])]);
    const made = all(document).filter((each) => each.matches("img[src=x], a[href^='javascript:'], [onerror]"));
    return [typeof owned, made.length];
}"""
"""Whether a script of it ran, and how many elements it made, those of components included."""
PLACE = {"experiment": "demo", "hookpoint": HOOKPOINTS[1], "inference": "1", "feature": "12"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("cache")
    for name in ("demo", "other"):
        write_experiment(cache, sample_experiment(name, 3, problems=SCRIPT))
    book = Notebook(cache / FILE)
    for about in (
        FeatureSubject("demo", "", HOOKPOINTS[1], 12),
        InferenceSubject("demo", 1),
        SpanSubject("demo", 1, 3, 5),
    ):
        for what in ("label", "note") if isinstance(about, FeatureSubject) else ("note",):
            book.write(about, what, SCRIPT, SCRIPT[-50:], "demo", SCRIPT)
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
    past = page.context.new_cdp_session(page).send("Page.getNavigationHistory")["entries"]
    assert past and not [entry for entry in past if token in entry["url"]]
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


def test_no_text_of_anybody_is_more_than_text(visit: Visit, cache: Path) -> None:
    """In the question, the tokens, labels, notes, names, an invitation, and every parameter of a link."""
    made = Invitations(cache).issue(SCRIPT[:80], "runner", 1)
    token = Signatures(secret_key(cache, None)).link(made.id)
    asked = urlencode({field.name: SCRIPT for field in fields(View) if field.name not in PLACE} | PLACE)
    page = visit(f"/invited/?{asked}#{token}")
    for name in ("", "inference", "feature", "across", "reasoning", "compare", "quality", "notes", "live", "steer"):
        page.goto(f"{page.url.partition('?')[0].rpartition('/')[0]}/{name}?{asked}")
        settled(page)
        page.wait_for_load_state("networkidle")  # a script that is left half loaded is an error on the console
        found = page.evaluate(MADE)
        assert found == ["undefined", 0], name
    expect(page.get_by_text("onerror").first).to_be_attached()
