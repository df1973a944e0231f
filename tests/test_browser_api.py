"""What only a browser shows of the interface's description: it is drawn and tried without a script from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.served import served
from kthink_core.access.admission import PARAMETER
from kthink_core.access.invitations import Invitations
from kthink_core.access.secret_key import secret_key
from kthink_core.access.signatures import Signatures
from kthink_core.listing import QUERIES
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.browsing import PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    cache: Path = tmp_path_factory.mktemp("cache")
    write_experiment(cache, sample_experiment("demo", 3))
    made = Invitations(cache).issue("Ada", "viewer", 1)
    with served(cache, KTHINK_ACCESS="invitations") as address:
        yield f"{address}/?{PARAMETER}={Signatures(secret_key(cache, None)).link(made.id)}"


def test_the_description_is_drawn_and_tried_offline(link: str, browser: Browser) -> None:
    address = link.partition("/?")[0]
    with browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page, complaints = context.new_page(), []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        asked: list[str] = []
        context.on("request", lambda request: asked.append(request.url))
        context.route(lambda url: not url.startswith((address, "data:")), lambda route: route.abort())
        context.request.get(link)  # a visitor of the pages has a cookie, which is enough here
        page.goto(f"{address}/api/v1/docs")
        operations = page.locator(".opblock")
        expect(operations).to_have_count(1 + len(QUERIES))
        one = page.locator("#operations-queries-top_tokens")
        one.locator(".opblock-summary-control").click()
        expect(
            one.get_by_text("The tokens at which a feature is active, by its largest activation there").last
        ).to_be_visible()
        one.get_by_role("button", name="Try it out").click()
        for name, value in (("experiment", "demo"), ("hookpoint", HOOKPOINTS[0]), ("feature", "7"), ("limit", "2")):
            one.locator(f"tr[data-param-name={name}] input").fill(value)
        one.get_by_role("button", name="Execute").click()
        answer = one.locator(".live-responses-table")
        expect(answer.locator(".response-col_status").nth(1)).to_contain_text("200")
        expect(answer).to_contain_text('"max_activation"')
        expect(one.locator(".request-url")).to_contain_text(f"{address}/api/v1/experiments/demo/top-tokens?")
        assert complaints == [] and all(url.startswith((address, "data:")) for url in asked)
