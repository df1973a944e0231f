"""The transcript in a real browser, drawn from traces whose activations can be reckoned."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.served import served
from tests.browsing import Scheme, Visit, becomes, settled
from tests.transcript_samples import MAXIMA, MORE_PAYLOADS, WORDS, activation, fires

pytestmark = pytest.mark.browser
PAGE = ("-m", "streamlit", "run", "tests/transcript_page.py", "--server.fileWatcherType", "none")

LIT = """root => Object.fromEntries([...root.querySelectorAll('.token')]
    .filter(token => token.classList.contains('fires'))
    .map(token => [token.position, Number(token.style.getPropertyValue('--share'))]))"""

# Contrast of text against what lies behind it, by the formula of WCAG 2: the least of all lit tokens.
CONTRAST = """root => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const paint = (...colours) => {
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const page = getComputedStyle(document.querySelector('.stApp')).backgroundColor;
    return Math.min(...[...root.querySelectorAll('.band:not(.aside) .token.fires')].map(token => {
        const band = getComputedStyle(token.closest('.band')).backgroundColor;
        const behind = paint(page, band, getComputedStyle(token).backgroundColor);
        const text = paint(getComputedStyle(token).color);
        return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    }));
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("cache"), PAGE) as url:
        yield url


def drawn(page: Page) -> Locator:
    root = page.locator(".transcript")
    expect(root.locator(".legend")).not_to_be_empty()
    return root


def tokens(page: Page) -> Locator:
    return page.locator(".transcript .token")


def lit(page: Page) -> dict[int, float]:
    """The opacity of every token that is underlined."""
    return {int(position): share for position, share in drawn(page).evaluate(LIT).items()}


def expected(feature: int, length: int = 300, maximum: float | None = None) -> dict[int, float]:
    """What `lit` should be where one feature is lit in scope `generated`."""
    inside = [activation(feature, at, length) for at in fires(feature, length) if at >= 20]
    most = maximum or max(inside)
    return {at: min(activation(feature, at, length) / most, 1) if at >= 20 else 0 for at in fires(feature, length)}


def assert_lit(page: Page, feature: int, **options: float) -> None:
    wanted = pytest.approx(expected(feature, **options), abs=6e-4)  # pyright: ignore[reportArgumentType]
    becomes(page, lambda: lit(page), wanted)


def feature_row(page: Page, feature: int) -> Locator:
    return page.locator(".row").filter(has=page.get_by_text(str(feature), exact=True))


def drag(page: Page, first: int, last: int) -> None:
    settled(page)  # where the tokens stay
    boxes = [tokens(page).nth(at).bounding_box() for at in (first, last)]
    assert boxes[0] and boxes[1]
    starts = [(box["x"] + 2, box["y"] + 6) for box in boxes if box]
    page.mouse.move(*starts[0])
    page.mouse.down()
    page.mouse.move(*starts[1], steps=8)
    page.mouse.up()


def test_tokens_are_shaded_in_their_bands(visit: Visit) -> None:
    page = visit("/")
    assert_lit(page, 3)
    titles = drawn(page).locator(".title")
    expect(titles).to_have_text(
        [
            re.compile("Prompt.*20 tokens · positions 0 to 19"),
            re.compile("Thinking.*220 tokens · positions 20 to 239"),
            re.compile("Answer.*60 tokens · positions 240 to 299.*✓ right"),
        ]
    )
    ruled = page.locator(".rule")
    assert [element.get_attribute("data-position") for element in ruled.all()] == [
        "0",
        "50",
        "100",
        "150",
        "200",
        "250",
    ]
    assert tokens(page).nth(20).inner_text() == "⏎\n⏎\n" and tokens(page).nth(16).inner_text() == "···"


def test_hovering_a_token_explains_it(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    tokens(page).nth(60).hover()
    tooltip = page.locator(".tooltip")
    expect(tooltip).to_be_visible()
    expect(tooltip.locator("dd")).to_have_text(["·" + WORDS[60 % 28].strip(), str(100 + 60 % 28), "60", "60.7 %"])
    firing = [feature for feature in range(30) if 60 % (feature + 2) == 0]
    strongest = sorted(firing, reverse=True)[:8]
    rows = tooltip.locator(".feature")
    shown = [feature for feature in [*strongest, 3] if feature in firing]
    expect(rows.locator(".number")).to_have_text([str(feature) for feature in dict.fromkeys(shown)])
    expect(rows.locator(".value").first).to_have_text(f"{activation(strongest[0], 60, 300):.3f}")
    here = [int(text) for text in page.locator(".row.here .number").all_inner_texts()]
    assert here and set(here) <= set(firing)
    tokens(page).nth(5).hover()
    expect(tooltip).to_contain_text("given, not sampled")
    page.locator("h1").hover()
    expect(tooltip).to_be_hidden()


def test_hovering_a_feature_lights_its_tokens_and_a_click_locks_it(visit: Visit) -> None:
    page = visit("/")
    before = lit(page)
    feature_row(page, 12).locator(".feature").hover()
    assert_lit(page, 12)
    page.locator("h1").hover()
    becomes(page, lambda: lit(page), before)
    lock = feature_row(page, 12).locator(".feature")
    lock.click()
    page.locator("h1").hover()
    assert_lit(page, 12)
    expect(lock).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".legend")).to_contain_text("locked")
    feature_row(page, 15).locator(".feature").hover()
    assert_lit(page, 15)
    page.keyboard.press("Escape")
    expect(lock).to_have_attribute("aria-pressed", "false")
    page.locator("h1").hover()
    becomes(page, lambda: lit(page), before)
    expect(page.get_by_text("span None features (3,) opened None")).to_be_visible()  # all that without the server


def test_a_held_tooltip_locks_a_feature(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    tokens(page).nth(60).click()
    tokens(page).nth(80).hover()
    tooltip = page.locator(".tooltip")
    expect(tooltip.locator("dd").nth(2)).to_have_text("60")
    tooltip.locator(".feature").filter(has=page.get_by_text("13", exact=True)).click()
    page.locator("h1").hover()
    assert_lit(page, 13)
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()
    assert_lit(page, 13)
    page.keyboard.press("Escape")
    assert_lit(page, 3)


def test_the_maximum_is_of_this_trace_or_of_the_experiment(visit: Visit) -> None:
    page = visit("/")
    most = max(activation(3, at, 300) for at in fires(3, 300))
    expect(drawn(page).locator(".entry")).to_contain_text(f"÷ {most:.2f}")
    page.get_by_role("radio", name="whole experiment").click()
    expect(page.locator(".entry")).to_contain_text("÷ 16.00")
    assert_lit(page, 3, maximum=MAXIMA[3])
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="this trace")).to_be_focused()
    assert_lit(page, 3)


def test_several_features_have_hues_of_their_own(visit: Visit) -> None:
    page = visit("/?case=five")
    found = lit(page)
    features = (3, 5, 0, 7, 9)
    shares = [expected(feature) for feature in features]
    assert found == pytest.approx(
        {at: max(share.get(at, 0) for share in shares) for at in range(300) if any(at in share for share in shares)},
        abs=6e-4,
    )
    for at in (60, 61, 70, 120, 121):
        here = [slot for slot, share in enumerate(shares) if at in share]
        style = tokens(page).nth(at).get_attribute("style") or ""
        assert sorted(set(map(int, re.findall(r"--line-(\d)", style)))) == here
        if here:
            assert f"--shade-{max(here, key=lambda slot: (shares[slot][at], -slot))}" in style
    expect(page.locator(".row .chip").filter(has_text=re.compile(r"\d"))).to_have_text(["1", "2", "3", "4", "5"])
    expect(feature_row(page, 29).locator(".show")).to_be_disabled()
    page.locator(".legend").get_by_role("button", name="Hide feature 5").click()
    expect(page.get_by_text("features (3, 0, 7, 9)")).to_be_visible()
    feature_row(page, 29).locator(".show").click()
    expect(page.get_by_text("features (3, 0, 7, 9, 29)")).to_be_visible()
    expect(page.locator(".entry .number")).to_have_text(["3", "0", "7", "9", "29"])


def test_a_feature_without_a_track_says_so(visit: Visit) -> None:
    page = visit("/?case=untracked")
    drawn(page)
    feature_row(page, 12).locator(".feature").click()
    expect(page.locator(".entry").last).to_contain_text("only where it is among the first")
    assert set(lit(page)) <= set(fires(12, 300))


def test_opening_a_feature_reaches_the_page(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    page.get_by_role("button", name="Open feature 21").click()
    expect(page.get_by_text("opened 21")).to_be_visible()


def test_a_choice_costs_one_run(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    expect(page.get_by_text("runs 1 ")).to_be_visible()
    page.get_by_role("button", name="Show beside others: feature 21").click()
    expect(page.get_by_text("features (3, 21)")).to_be_visible()
    expect(page.get_by_text("runs 2 ")).to_be_visible()


def test_a_silent_feature_says_so(visit: Visit) -> None:
    page = visit("/?case=silent")
    expect(page.locator(".entry")).to_contain_text("never fires in scope generated")
    assert lit(page) == {}


def test_dragging_marks_a_span(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    drag(page, 100, 61)
    expect(page.get_by_text("span (61, 100)")).to_be_visible()
    spanned = page.locator(".spanned")
    expect(spanned).to_have_count(40)
    expect(page.get_by_role("button", name="Clear the span")).to_have_text("span 61 to 100 · 40 tokens ×")
    drag(page, 30, 35)
    expect(page.get_by_text("span (30, 35)")).to_be_visible()
    expect(spanned).to_have_count(6)
    page.keyboard.press("Escape")
    expect(page.get_by_text("span None")).to_be_visible()
    expect(spanned).to_have_count(0)
    drag(page, 30, 35)
    expect(page.get_by_text("span (30, 35)")).to_be_visible()
    tokens(page).nth(32).click()
    expect(page.get_by_text("span None")).to_be_visible()
    expect(page.locator(".tooltip.held")).to_have_count(0)


def test_a_span_and_a_position_of_the_link_are_shown(visit: Visit) -> None:
    page = visit("/?case=marked")
    drawn(page)
    expect(page.locator(".spanned")).to_have_count(11)
    expect(tokens(page).nth(290)).to_be_in_viewport()
    expect(tokens(page).nth(290)).to_have_class(re.compile("flash"))
    expect(tokens(page).nth(0)).not_to_be_in_viewport()


def test_what_is_copied_is_what_the_model_wrote(visit: Visit) -> None:
    page = visit("/?case=marked")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drawn(page)
    page.locator(".scroller").focus()
    page.keyboard.press("Control+c")
    copied = "".join(WORDS[at % len(WORDS)] for at in range(20, 31))
    becomes(page, lambda: page.evaluate("navigator.clipboard.readText()"), copied)


def test_the_legend_of_a_silent_feature_lies_beside_its_number(visit: Visit) -> None:
    page = visit("/?case=silent", width=1100)
    drawn(page)
    for width in (1100, 700, 420):
        page.set_viewport_size({"width": width, "height": 1000})
        number, said = page.locator(".entry .number").bounding_box(), page.locator(".entry .text").bounding_box()
        assert number and said and number["height"] < 30
        is_below = said["y"] >= number["y"] + number["height"] - 1
        assert is_below or said["x"] >= number["x"] + number["width"]


def test_a_character_of_several_tokens_is_shown_once_and_its_bytes_on_hover(visit: Visit) -> None:
    page = visit("/?case=spread")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    drawn(page)
    assert [tokens(page).nth(at).inner_text() for at in range(30, 36)] == ["x", " ▏", "▏", "√", "2", "y"]
    for at, told in ((31, "·, part of √ (bytes ·\\xe2)"), (32, "part of √ (bytes \\x88)"), (33, "√ (bytes \\x9a)")):
        tokens(page).nth(at).hover()
        expect(page.locator(".tooltip dd").first).to_have_text(told)
    page.locator(".scroller").focus()
    page.keyboard.press("Control+c")
    becomes(page, lambda: page.evaluate("navigator.clipboard.readText()"), "x √2y")


def test_the_keyboard_goes_everywhere(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    page.locator(".scroller").focus()
    focus, tooltip = page.locator(".token.focus"), page.locator(".tooltip")

    def at(position: int) -> None:
        expect(tooltip.locator("dd").nth(2)).to_have_text(str(position))
        assert focus.evaluate("token => token.position") == position

    page.keyboard.press("ArrowRight")
    at(0)
    page.keyboard.press("ArrowRight")
    at(1)
    page.keyboard.press("n")
    at(5)
    expect(page.locator(".announcer")).to_contain_text("position 5")
    page.keyboard.press("N")
    at(10)
    page.keyboard.press("p")
    at(5)
    page.keyboard.press("End")
    at(299)
    expect(tokens(page).nth(299)).to_be_in_viewport()
    page.keyboard.press("n")
    expect(page.locator(".announcer")).to_contain_text("fires nowhere after")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    at(0)
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    expect(page.get_by_text("span (0, 3)")).to_be_visible()
    page.keyboard.press("?")
    helped = page.get_by_role("dialog", name="Help for the transcript")
    expect(helped).to_be_visible()
    expect(helped).to_contain_text("previous, next token")
    page.keyboard.press("Escape")
    expect(helped).to_be_hidden()
    page.keyboard.press("Enter")
    expect(page.locator(".tooltip.held")).to_be_visible()


def test_the_page_keeps_its_own_keys(visit: Visit) -> None:
    page = visit("/?case=marked")
    drawn(page)
    feature_row(page, 12).locator(".feature").click()
    page.locator("h1").hover()
    page.keyboard.press("j")
    expect(page.locator(".legend")).not_to_contain_text("locked")  # another inference begins anew
    assert_lit(page, 3)


def test_a_growing_trace_is_appended_to(visit: Visit) -> None:
    page = visit("/?case=live")
    expect(tokens(drawn(page).page)).to_have_count(1)
    tokens(page).first.evaluate("token => { token.kept = true; }")
    for count in (8, 15, 22, 29, 36, 43, 50, 57):
        page.get_by_role("button", name="More").click()
        expect(tokens(page)).to_have_count(count)
    assert tokens(page).first.evaluate("token => token.kept") is True
    assert [token.evaluate("token => token.position") for token in tokens(page).all()] == list(range(57))
    expect(page.locator(".title").last).to_contain_text("37 tokens · positions 20 to 56")
    becomes(page, lambda: set(lit(page)), set(fires(3, 57)))


def test_hostile_tokens_are_text(visit: Visit) -> None:
    page = visit("/?case=hostile")
    root = drawn(page)
    for index, payload in enumerate(MORE_PAYLOADS):
        text = tokens(page).nth(25 + index).evaluate("token => token.textContent")
        if payload.isprintable() and payload:
            assert text == payload
        else:
            assert text.strip() and (text.isprintable() or "⇥" in text or "👩" in text)
    written = root.locator(".tokens").last
    for code in (
        "\\u202eevil",
        "a\\u0000b",
        "\\u200f",
        "\\u{e0041}",
        "\\u000d",
        "\\u2028x",
        "\\u001b[31m",
        "\\ufeff",
        "∅",
    ):
        expect(written).to_contain_text(code)
    assert root.evaluate("root => root.querySelectorAll('script, img, b, iframe, textarea, style, a').length") == 0
    tokens(page).nth(25).hover()
    expect(page.locator(".tooltip")).to_contain_text("<script>document.title='owned'</script>")
    expect(page.locator(".row .label").first).to_have_text("counts <b>things</b>")
    assert "owned" not in page.title()


def test_ten_thousand_newlines(visit: Visit) -> None:
    page = visit("/?case=newlines")
    drawn(page)
    expect(tokens(page)).to_have_count(10_000)
    # Each is a sign on a line of its own.
    boxes = [tokens(page).nth(at).bounding_box() for at in (30, 31, 32, 50)]
    heights = [box["y"] for box in boxes if box]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=1)
    assert heights[3] - heights[0] == pytest.approx(20 * (heights[1] - heights[0]), rel=0.02)


@pytest.mark.parametrize(("case", "length"), [("long", 20_000), ("endless", 5_000)])
def test_a_long_trace_is_whole(visit: Visit, case: str, length: int) -> None:
    page = visit(f"/?case={case}")
    drawn(page)
    expect(tokens(page)).to_have_count(length)
    assert_lit(page, 3, length=length)
    page.locator(".scroller").focus()
    page.keyboard.press("End")
    expect(tokens(page).nth(length - 1)).to_be_in_viewport()
    expect(page.locator(".tooltip dd").nth(2)).to_have_text(str(length - 1))
    feature_row(page, 12).locator(".feature").hover()
    assert_lit(page, 12, length=length)
    box = page.locator(".strip").bounding_box()
    assert box
    page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
    expect(tokens(page).nth(length // 2)).to_be_in_viewport()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_hue(visit: Visit, scheme: Scheme) -> None:
    page = visit("/?case=five", scheme=scheme)
    assert drawn(page).evaluate(CONTRAST) >= 4.5


def test_a_narrow_screen_has_the_list_below(visit: Visit) -> None:
    page = visit("/?case=five", width=400)
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    scroller, side = page.locator(".scroller").bounding_box(), page.locator(".side").bounding_box()
    assert scroller and side and side["y"] >= scroller["y"] + scroller["height"]
    assert scroller["width"] > 300
    tokens(page).nth(60).click()
    expect(page.locator(".tooltip")).to_be_visible()
    tooltip = page.locator(".tooltip").bounding_box()
    assert tooltip and tooltip["x"] >= 0 and tooltip["x"] + tooltip["width"] <= 400


def test_an_empty_trace_is_no_error(visit: Visit) -> None:
    page = visit("/?case=empty")
    expect(page.locator(".legend")).to_contain_text("No feature is shown")
    expect(tokens(page)).to_have_count(0)
    page.locator(".scroller").focus()
    for key in ("ArrowRight", "End", "Shift+ArrowLeft", "n"):
        page.keyboard.press(key)
    expect(page.locator(".tooltip.open")).to_have_count(0)


def test_controls_have_names_and_roles(visit: Visit) -> None:
    page = visit("/")
    drawn(page)
    expect(page.get_by_role("group", name="Transcript, 300 tokens")).to_be_visible()
    expect(page.get_by_role("complementary", name="Features of this trace")).to_be_visible()
    expect(page.get_by_role("region", name="Thinking")).to_be_visible()
    nameless = page.locator(".transcript").evaluate(
        "root => [...root.querySelectorAll('button')].filter(b => !b.hidden && !b.textContent && !b.ariaLabel).length"
    )
    assert nameless == 0
    expect(page.locator(".announcer")).to_have_attribute("aria-live", "polite")
