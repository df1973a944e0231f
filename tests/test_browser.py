"""What only a browser shows: shading, clicks, links opened elsewhere, hostile tokens, both themes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.served import served
from tests.app_samples import PAYLOADS, SILENT, sample_experiment, write_experiment
from tests.browsing import Scheme, Visit, settled

pytestmark = pytest.mark.browser

SHARES = "[...document.querySelectorAll('.token')].map(token => Number(token.style.getPropertyValue('--share')))"
"""The opacities of all tokens."""
# Playwright's own locators look into shadow roots; an expression must be given the root as its `document`.
IN_TRANSCRIPT = """(expression) => {
    const root = [...document.querySelectorAll('*')].find(e => e.shadowRoot?.querySelector('.transcript')).shadowRoot;
    return new Function('document', 'return ' + expression)(root);
}"""

# Contrast of the most shaded token's text against what lies behind it, by the formula of WCAG 2.
CONTRAST = """(() => {
    const token = [...document.querySelectorAll('.token')].find(t => t.style.getPropertyValue('--share') === '1.000');
    const canvas = window.document.createElement('canvas').getContext('2d');
    const paint = (...colours) => {
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = getComputedStyle(window.document.querySelector('.stApp')).backgroundColor;
    const behind = paint(page, getComputedStyle(token.closest('.band')).backgroundColor,
        getComputedStyle(token).backgroundColor);
    const text = paint(getComputedStyle(token).color);
    return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
})()"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_experiment(folder, sample_experiment("demo", 6))
    write_experiment(folder, sample_experiment("growing", 6), committed=range(3))
    return folder


@pytest.fixture(scope="module")
def address(cache: Path, browser: Browser) -> Iterator[str]:
    with served(cache) as url:
        yield url


def shares(page: Page) -> list[float]:
    expect(page.locator(".token").first).to_be_visible()
    return page.evaluate(IN_TRANSCRIPT, SHARES)


def click_row(page: Page, table: int, row: int) -> None:
    """Click a row of a table, which is drawn on a canvas with lines of 35 pixels."""
    page.locator("[data-testid=stDataFrame]:visible").nth(table).click(position={"x": 120, "y": 35 * (row + 1) + 17})


def test_the_first_visitor_of_a_server_may_come_with_a_link(cache: Path, visit: Visit) -> None:
    with served(cache) as url:
        page = visit("/inference?inference=3&feature=12", base=url)
        expect(page.locator("h1")).to_have_text("Inference 3")
        expect(page.get_by_role("link", name="Overview")).to_be_visible()
        expect(page.get_by_text("app", exact=True)).to_have_count(0)


def test_tokens_are_shaded_and_explained(visit: Visit) -> None:
    page = visit("/inference?inference=0")
    found = shares(page)
    assert max(found) == 1
    assert any(0 < share < 1 for share in found)
    page.locator(".token").nth(20).hover()
    tooltip = page.locator(".tooltip")
    expect(tooltip).to_be_visible()
    expect(tooltip).to_contain_text("position20")
    expect(tooltip).to_contain_text("%")
    page.locator("h1").hover()
    expect(tooltip).to_be_hidden()


def test_a_click_on_a_relevant_feature_changes_link_and_shading(visit: Visit) -> None:
    page = visit("/inference?inference=1")
    before = shares(page)
    click_row(page, 0, 3)
    page.wait_for_url(re.compile(r"feature=\d+"))
    settled(page)
    feature = re.search(r"feature=(\d+)", page.url)
    assert feature
    expect(page.get_by_label("Feature (0 to 63)")).to_have_value(feature[1])
    expect(page.get_by_text(f"activation of feature {feature[1]}")).to_be_visible()
    assert shares(page) != before


def test_a_link_opened_elsewhere_shows_the_same(visit: Visit) -> None:
    page = visit("/inference?inference=1")
    page.keyboard.press("j")
    page.wait_for_url(re.compile("inference=2"))
    expect(page.locator("h1")).to_have_text("Inference 2")
    click_row(page, 0, 2)
    page.wait_for_url(re.compile("feature="))
    settled(page)
    other = visit(page.url.removeprefix(page.url.split("/inference")[0]))
    expect(other.locator("h1")).to_have_text("Inference 2")
    assert shares(other) == shares(page)


def test_rows_lead_to_pages_and_the_bar_keeps_the_view(visit: Visit) -> None:
    page = visit("/")
    click_row(page, -1, 2)
    expect(page.locator("h1")).to_have_text("Inference 2")
    page.get_by_role("link", name="Feature", exact=True).click()
    expect(page.locator("h1")).to_contain_text("of layers.4.mlp")
    expect(page.get_by_label("Inference (0 to 5)")).to_have_value("2")
    page.get_by_role("link", name="Overview").click()
    expect(page.locator("h1")).to_have_text("demo")
    settled(page)
    click_row(page, 0, 1)
    expect(page.locator("h1")).to_contain_text("of layers.2.mlp")
    page.go_back()
    expect(page.locator("h1")).to_have_text("demo")


def test_new_inferences_appear_by_themselves(cache: Path, visit: Visit) -> None:
    page = visit("/?experiment=growing")
    expect(page.get_by_text("3 of 6 inferences")).to_be_visible()
    write_experiment(cache, sample_experiment("growing", 6), committed=[3])
    expect(page.get_by_text("4 of 6 inferences")).to_be_visible(timeout=20_000)
    expect(page.get_by_text("2 right")).to_be_visible()


def test_hostile_tokens_show_as_text(visit: Visit) -> None:
    page = visit("/inference?inference=0")
    shown = page.locator(".tokens").last
    for payload in PAYLOADS:
        if payload.isprintable():
            expect(shown).to_contain_text(payload)
    expect(shown).to_contain_text("\\u202eevil")
    expect(page.locator("text=**72** <b>$</b>").first).to_be_visible()
    assert page.evaluate(IN_TRANSCRIPT, "document.querySelectorAll('script, img, b').length") == 0
    assert "owned" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_shaded_text_can_be_read_in_both_themes(visit: Visit, scheme: Scheme) -> None:
    page = visit("/inference?inference=0", scheme=scheme)
    assert max(shares(page)) == 1
    assert page.evaluate(IN_TRANSCRIPT, CONTRAST) >= 4.5
    picture = Image.open(BytesIO(page.screenshot())).convert("L")
    brightness = picture.resize((1, 1)).getpixel((0, 0))
    assert isinstance(brightness, int)
    assert brightness < 80 if scheme == "dark" else brightness > 180
    darkest, lightest = picture.getextrema()
    assert isinstance(darkest, int) and isinstance(lightest, int) and lightest - darkest > 150


def test_every_plot_is_drawn(visit: Visit) -> None:
    page = visit("/inference?inference=0")
    for tab in ("400 top activations", "70 feature frequencies", "Histogram"):
        page.get_by_role("tab", name=tab).click()
        chart = page.get_by_role("tabpanel", name=tab).locator("[data-testid=stVegaLiteChart] canvas, svg.marks").first
        expect(chart).to_be_visible()
        box = chart.bounding_box()
        assert box and box["width"] > 400 and box["height"] > 200
    page = visit("/feature")
    expect(page.locator("[data-testid=stVegaLiteChart]")).to_have_count(2)


@pytest.mark.parametrize("path", ["/", "/inference", "/feature"])
def test_nonsense_in_the_link_is_a_message(visit: Visit, path: str) -> None:
    page = visit(path + "?feature=abc&inference=99&scope=%3Cb%3E&experiment=%5Bx%5D(http://a.b)&hookpoint=%24x%24")
    expect(page.locator("[data-testid=stAlert]")).to_have_count(5)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    expect(page.get_by_text("'[x](http:\u2060//a.b)'")).to_be_visible()
    expect(page.locator("[data-testid=stAlert] a")).to_have_count(0)


def test_a_silent_feature_and_a_narrow_screen(visit: Visit) -> None:
    page = visit(f"/inference?feature={SILENT}", width=400)
    expect(page.get_by_text(f"Feature {SILENT} never fires")).to_be_visible()
    assert max(shares(page)) == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
