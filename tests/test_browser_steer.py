"""The page Steer in a real browser, with a real worker of a tiny model: one click leads there, both streams come."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.served import served
from benchmarks.stand_in import SHAPES
from kthink_core.precompute.pipeline import Plan, precompute
from kthink_core.precompute.progress import Silent
from tests.accessibility import assert_accessible
from tests.browsing import Visit, becomes, settled, title
from tests.worker_process import QUESTIONS, working

pytestmark = pytest.mark.browser
H1, H2 = SHAPES["tiny"].hookpoints


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, tiny_plan: Plan, browser: Browser) -> Iterator[str]:
    cache = tmp_path_factory.mktemp("cache")
    precompute(tiny_plan, cache, 8, Silent())
    with (
        working(tiny_plan, cache=cache, new_tokens=100_000, requests_per_minute=10_000) as (settings, _),
        served(cache, KTHINK_WORKER_PORT=str(settings.port), KTHINK_EXPERIMENT="tiny") as url,
    ):
        yield url


def run(page: Page) -> None:
    page.get_by_role("button", name="Run", exact=True).click()


def ended(page: Page, how: str, streams: int = 2) -> None:
    expect(page.get_by_text(re.compile(f"^{how}, "))).to_have_count(streams)
    settled(page)


def test_one_click_from_a_feature_then_both_streams_and_the_receipt(visit: Visit) -> None:
    page = visit(f"/feature?hookpoint={H1}&feature=9&inference=1")
    page.get_by_role("link", name="Steer it").click()
    expect(title(page)).to_have_text("Steer")
    settled(page)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(QUESTIONS[1])
    page.get_by_role("radio", name="activation").click()
    settled(page)
    page.get_by_label("Strength", exact=True).fill("80")
    page.get_by_label("Strength", exact=True).press("Enter")
    page.wait_for_url(re.compile(rf"steer={H1}_9_clamp_80\.0(&|$)"))
    settled(page)
    run(page)
    ended(page, "Done")
    expect(page.get_by_role("heading", name="Baseline")).to_be_visible()
    expect(page.locator(".transcript")).to_have_count(2)
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible()
    expect(page.get_by_text(re.compile("clamped to what it has: ")).first).to_be_visible()
    apart = page.locator(".apart")
    expect(apart.locator("del").first).to_contain_text("−")
    expect(apart.locator("ins").first).to_contain_text("+")
    apart.focus()
    expect(apart).to_be_focused()
    assert_accessible(page)
    again = visit(page.url.removeprefix(page.url.split("/steer")[0]), width=400)  # what a collaborator sees
    expect(again.get_by_label("Strength", exact=True)).to_have_value("80")
    expect(again.get_by_label("Prompt", exact=True)).to_have_value(QUESTIONS[1])
    run(again)
    ended(again, "Done")
    becomes(again, again.locator(".apart").inner_text, apart.inner_text())
    wide = "document.querySelector('[data-testid=stMain]').scrollWidth"
    assert again.evaluate(wide) <= 400


def test_stop_ends_both_and_what_was_asked_before_is_called_so(visit: Visit) -> None:
    page = visit(f"/steer?steer={H1}_9_clamp_80&run=think_0.0_0.95_60000_5")  # which does not end by itself
    run(page)
    waiting = page.get_by_text(re.compile("^Waiting: |^Not in the worker's queue"))
    expect(waiting.last).to_be_visible()  # the steered one
    page.get_by_role("button", name="Stop").click()
    ended(page, "Stopped")
    page.get_by_label("Most new tokens").fill("30")
    page.get_by_label("Most new tokens").press("Enter")
    settled(page)
    run(page)
    ended(page, "Done")
    page.get_by_role("radio", name="ablate").click()
    settled(page)
    expect(page.get_by_text("Below is what was asked before")).to_be_visible()
    run(page)
    settled(page)  # else those before are done, too
    ended(page, "Done")
    expect(page.get_by_text("Below is what was asked before")).to_have_count(0)


def test_a_typed_prompt_comes_from_live_and_is_not_in_the_link(visit: Visit) -> None:
    page = visit(f"/live?hookpoint={H2}&feature=3")
    page.get_by_label("Most new tokens").fill("20")
    page.get_by_label("Most new tokens").press("Enter")
    settled(page)
    page.get_by_label("Prompt", exact=True).fill("Three <b>?")
    expect(page.locator(".prompt .count")).to_contain_text("of at most")
    run(page)
    ended(page, "Done", streams=1)
    page.get_by_role("button", name="Steer it").click()
    expect(title(page)).to_have_text("Steer")
    settled(page)
    expect(page.get_by_label("Prompt", exact=True)).to_have_value("Three <b>?")
    expect(page.get_by_text("This prompt was typed")).to_be_visible()
    assert f"steer={H2}_3_clamp_1.0" in page.url and "run=think_0.6_0.95_20_0" in page.url
    assert "Three" not in page.url
    page.get_by_role("button", name="Take the question of inference 0").click()
    expect(page.get_by_label("Prompt", exact=True)).to_have_value(QUESTIONS[0])
