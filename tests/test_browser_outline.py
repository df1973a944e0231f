"""A long trace in the browser: cut into steps, collapsed, gone through, and searched."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.served import served
from kthink_core import outline
from tests.browsing import Visit, becomes
from tests.transcript_samples import CASES, WORDS, fires, sample

pytestmark = pytest.mark.browser
PAGE = ("-m", "streamlit", "run", "tests/transcript_page.py", "--server.fileWatcherType", "none")
TABLES = sample(CASES["small"], 300)
TEXTS, SEGMENTS = TABLES.tokens["text"].tolist(), TABLES.tokens["segment"].tolist()
POSITIONS = "tokens => tokens.map(token => token.position)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("cache"), PAGE) as url:
        yield url


def tokens(page: Page) -> Locator:
    return page.locator(".transcript .token")


def cut(page: Page, grain: outline.Grain) -> list[outline.Step]:
    """Chooses a grain; the steps that there are then."""
    page.get_by_role("combobox", name="Steps").select_option(grain)
    expect(page.get_by_text(f"grain {grain}")).to_be_visible()
    found = outline.cut(TEXTS, SEGMENTS, grain)
    expect(page.locator(".step-row")).to_have_count(len(found))
    return found


def test_a_trace_is_gone_through_by_its_steps(visit: Visit) -> None:
    page = visit("/")
    lit = page.locator(".token.fires")
    expect(lit).to_have_count(len(fires(3, 300)))
    steps = cut(page, "turn")
    rows, laid, folded = page.locator(".step-row"), page.locator(".step"), page.locator(".step.folded")
    expect(page.get_by_role("region", name="Outline")).to_contain_text(f"{len(steps)} turns")
    assert laid.evaluate_all("steps => steps.map(step => step.first)") == [first for first, _ in steps]
    assert tokens(page).evaluate_all(POSITIONS) == list(range(300))
    expect(lit).to_have_count(len(fires(3, 300)))

    told = outline.steps(TABLES.tokens, TABLES.tracks, "turn", 3)
    chosen = told[told["step"] == 4]
    first, last = steps[4]
    expect(rows.nth(4).locator(".words")).to_have_text(re.sub(r"\s+", " ", "".join(TEXTS[first : last + 1])).strip())
    expect(rows.nth(4).locator(".size")).to_have_text(f"{last - first + 1} tokens")
    expect(rows.nth(4).locator(".number")).to_have_text([str(feature) for feature in chosen["feature"]])
    title = rows.nth(4).locator(".strong").first.get_attribute("title") or ""
    assert f"Fires at {chosen['positions'].iloc[0]} of the span's {last - first + 1} positions" in title

    page.get_by_role("button", name="Collapse all").click()
    expect(folded).to_have_count(len(steps))
    expect(tokens(page).nth(first)).to_be_hidden()
    expect(folded.nth(4).locator(".summary .words")).to_have_text(rows.nth(4).locator(".words").inner_text())

    rows.nth(4).locator(".go").click()  # it opens, is marked, and the page is told of it
    expect(tokens(page).nth(first)).to_be_in_viewport()
    expect(folded).to_have_count(len(steps) - 1)
    expect(page.locator(".spanned")).to_have_count(last - first + 1)
    expect(page.get_by_text(f"span ({first}, {last})")).to_be_visible()
    expect(rows.nth(4)).to_have_attribute("aria-current", "true")

    page.keyboard.press("ArrowDown")
    expect(rows.nth(5).locator(".go")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(folded).to_have_count(len(steps) - 2)
    page.locator(".scroller").focus()
    page.keyboard.press("]")
    expect(page.locator(".announcer")).to_contain_text(f"position {steps[5].first}")
    page.keyboard.press("o")
    expect(folded).to_have_count(len(steps) - 1)
    page.keyboard.press("End")
    expect(tokens(page).nth(299)).to_be_in_viewport()

    assert len(cut(page, "sentence")) > len(steps)
    expect(folded).to_have_count(0)
    assert tokens(page).evaluate_all(POSITIONS) == list(range(300))
    expect(page.locator(".spanned")).to_have_count(last - first + 1)
    page.get_by_role("combobox", name="Steps").select_option("none")
    expect(page.locator(".step")).to_have_count(0)
    expect(page.get_by_role("region", name="Outline")).to_be_hidden()
    page.locator("h1").hover()  # the list has come under the pointer
    expect(lit).to_have_count(len(fires(3, 300)))


def test_a_trace_is_searched(visit: Visit) -> None:
    page = visit("/")
    lit, hit, now = (page.locator(f".token.{name}") for name in ("fires", "hit", "now"))
    cut(page, "sentence")
    page.get_by_role("button", name="Collapse all").click()
    page.locator(".scroller").focus()
    page.keyboard.press("/")
    finder, found = page.locator(".finder input"), page.locator(".found")
    expect(finder).to_be_focused()

    page.keyboard.type("WAIT, m")  # letters are keys of the page and of the transcript
    places = [at for at in range(300) if WORDS[at % 28] == " Wait" and at + 2 < 300]
    expect(found).to_have_text(f"1 of {len(places)}")
    assert hit.evaluate_all(POSITIONS) == [at + more for at in places for more in range(3)]
    assert now.evaluate_all(POSITIONS) == [places[0], places[0] + 1, places[0] + 2]
    expect(tokens(page).nth(places[0])).to_be_in_viewport()  # its step is open
    expect(lit).to_have_count(len(fires(3, 300)))
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(found).to_have_text(f"3 of {len(places)}")
    expect(tokens(page).nth(places[2])).to_be_in_viewport()
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    expect(found).to_have_text(f"{len(places)} of {len(places)}")

    finder.fill("#105")
    expect(hit).to_have_count(len(range(5, 300, 28)))
    finder.fill("absent")
    expect(found).to_have_text("none")
    finder.fill("feature:12")
    becomes(page, lambda: hit.evaluate_all(POSITIONS), fires(12, 300))
    expect(page.get_by_text("sought 12")).to_be_visible()  # the link holds it
    expect(hit).to_have_count(len(fires(12, 300)))

    finder.fill("feature:100")
    expect(found).to_have_text("This SAE has features 0 to 99")
    expect(page.get_by_text("sought None")).to_be_visible()  # the link holds none that there is not
    finder.fill("feature:12")
    expect(page.get_by_text("sought 12")).to_be_visible()

    page.get_by_role("button", name="More").click()  # what comes is searched, too
    expect(tokens(page)).to_have_count(307)
    expect(hit).to_have_count(len(fires(12, 307)))
    finder.press("Escape")
    expect(hit).to_have_count(0)
    expect(finder).to_have_value("")
    expect(page.get_by_text("sought None")).to_be_visible()
