"""That pages can be read and used by everybody: the rules of WCAG 2.2 AA in both themes, and the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.served import served
from kthink_core.notes import FILE, FeatureSubject, Notebook, SpanSubject
from tests.accessibility import CONTRAST, assert_accessible, turn, violations
from tests.app_samples import HOOKPOINTS, sample_experiment, write_experiment
from tests.browsing import Scheme, Visit, settled, title

pytestmark = pytest.mark.browser

PAGES = {
    "/": "[data-testid=stDataFrame] canvas",
    "/inference?also=3.7&span=12.20": ".transcript .legend .feature",
    "/feature?feature=12": ".snippets .snippet",
    "/across": "svg.marks path[aria-label*='Peak at']",
    "/reasoning": ".snippets .snippet",
    "/reasoning?test=families": "[data-testid=stDataFrame] canvas",
    f"/steer?steer={HOOKPOINTS[1]}_12_clamp_2x_3~{HOOKPOINTS[0]}_3_ablate_0_{HOOKPOINTS[1]}_7": "[data-testid=stCode]",
    "/quality": "svg.marks path[aria-label*='Loss recovered']",
    "/compare": ".transcript .legend .feature",
    "/reasoning?test=contrasts&between=think-answer": "[data-testid=stDataFrame] canvas",
    "/live": "[data-testid=stCode]",
    "/notes": "[data-testid=stDataFrame] canvas",
    "/guide": ".katex-display",
}
"""By path: what is drawn last."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    cache = tmp_path_factory.mktemp("cache")
    write_experiment(cache, sample_experiment("demo", 6))
    book = Notebook(cache / FILE)
    feature, span = FeatureSubject("demo", "", HOOKPOINTS[1], 12), SpanSubject("demo", 0, 12, 20)
    for about, what, value in (
        (feature, "label", "hesitation"),
        (feature, "rating", "4"),
        (feature, "flag", "1"),
        (feature, "note", "Fires where a thought turns."),
        (span, "note", "A turn."),
    ):
        book.write(about, what, value, author="Ada", experiment="demo")
    with served(cache) as url:
        yield url


@pytest.mark.parametrize("path", PAGES)
def test_a_page_breaks_no_rule_in_either_theme(visit: Visit, path: str) -> None:
    page = visit(path)
    expect(page.locator(PAGES[path]).first).to_be_visible()
    assert_accessible(page)


def test_what_is_under_the_pointer_can_be_read_in_either_theme(visit: Visit) -> None:
    page = visit("/inference?inference=1&span=12.20")
    pointed = (
        page.get_by_role("button", name="Add to list").first,
        page.get_by_role("button", name="Copy link"),
        page.get_by_role("tab", selected=False).first,
        page.locator("[data-variant=segmented_control][data-selected=true]").first,
    )
    themes: tuple[Scheme, ...] = ("dark", "light")
    for scheme in themes:
        turn(page, scheme)
        for element in pointed:
            element.hover()
            found = violations(page, CONTRAST, element)
            assert not found, (scheme, found)


def focused(page: Page, selector: str) -> bool:
    """Whether what has the focus matches, in a component or outside."""
    within = "one => { while (one?.shadowRoot?.activeElement) one = one.shadowRoot.activeElement; return one; }"
    return page.evaluate(f"selector => ({within})(document.activeElement).matches(selector)", selector)


def tab_to(page: Page, selector: str, most: int = 30) -> int:
    """Presses Tab until what has the focus matches; how often that was."""
    for presses in range(1, most + 1):
        page.keyboard.press("Tab")
        if focused(page, selector):
            return presses
    raise AssertionError(f"{most} times Tab led to no {selector}")


def test_the_list_of_features_is_one_stop_and_arrows_go_through_it(visit: Visit) -> None:
    page = visit("/inference?inference=1&feature=3")
    rows = page.locator(".transcript .row:has(.number)")  # above them surprise and entropy
    expect(rows.nth(10)).to_be_attached()
    page.locator(".scroller").focus()
    assert tab_to(page, ".row .feature") == 1
    expect(page.locator(".heading .name")).to_contain_text("surprise ")
    first, second = (rows.nth(at).locator(".number").inner_text() for at in (0, 1))
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(page.locator(".heading .name")).to_contain_text(f"Feature {first} ")  # as under a pointer
    page.keyboard.press("ArrowDown")
    expect(rows.nth(1).locator(".feature")).to_be_focused()
    expect(page.locator(".heading .name")).to_contain_text(f"Feature {second} ")
    page.keyboard.press("ArrowRight")
    expect(rows.nth(1).locator(".show")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(rf"also={second}(&|$)"))
    settled(page)
    expect(rows.nth(1).locator(".show")).to_be_focused()
    expect(rows.nth(1).locator(".show")).to_have_text("−")
    page.keyboard.press("End")
    expect(rows.last.locator(".open")).to_be_focused()
    assert tab_to(page, ":not(.row *)") == 1
    page.keyboard.press("Shift+Tab")
    expect(rows.last.locator(".open")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".tooltip.open")).to_have_count(0)


def test_what_opens_in_the_transcript_breaks_no_rule(visit: Visit) -> None:
    page = visit("/inference?inference=1&feature=3&also=7")
    page.locator(".transcript .token").last.click()  # a tooltip at the top would lie over the buttons of find
    expect(page.locator(".tooltip.held")).to_be_visible()
    page.locator(".row .feature").nth(12).click()  # beside the tooltip
    expect(page.locator(".entry.unlit").first).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help for the transcript")).to_be_visible()
    assert violations(page) == []


def test_a_cell_of_the_matrix_is_reached_and_opened_by_keys(visit: Visit) -> None:
    page = visit("/across")
    cell = "svg.marks path[aria-label*='Peak at']"
    expect(page.locator(f"{cell}[tabindex='0']")).to_have_count(1)
    page.get_by_role("radio", name="all (6)").focus()
    tab_to(page, cell)
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
    described = page.evaluate("document.activeElement.getAttribute('aria-label')")
    first = page.locator(cell).first.get_attribute("aria-label") or ""
    inference, feature, peak = (
        re.findall(pattern, described)[0] for pattern in (r"Inference: \S+ (\d+)", r"row: (\d+)", r"Peak at: (\d+)")
    )
    assert inference == "1" and f"row: {feature};" not in first
    page.keyboard.press("Enter")
    expect(title(page)).to_have_text(f"Inference {inference}")
    settled(page)
    assert f"feature={feature}" in page.url and f"position={peak}" in page.url
