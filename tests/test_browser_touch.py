"""The transcript under fingers: scrolled as any page, spans marked without a mouse."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from benchmarks.served import ROOT, served
from tests.browsing import Visit, becomes

pytestmark = pytest.mark.browser
PAGE = ("-m", "streamlit", "run", "tests/transcript_page.py", "--server.fileWatcherType", "none")
Touch = Callable[..., None]
LONG_PRESS = re.search(r"LONG_PRESS = (\d+);", (ROOT / "kthink_core/ui/transcript/touch.js").read_text("utf-8"))
HELD = """pressed => {
    const [begin, end, held] = [window.setTimeout, window.clearTimeout, new Map()];
    window.setTimeout = (call, wait, ...more) => {
        if (wait !== pressed) return begin(call, wait, ...more);
        const timer = begin(() => {}, 0);
        held.set(timer, call);
        return timer;
    };
    window.clearTimeout = timer => { held.delete(timer); end(timer); };
    window.pressLong = () => held.forEach((call, timer) => { held.delete(timer); call(); });
}"""
"""From now on `pressLong` says that fingers have stayed for long enough, no clock: a slow machine taps slowly."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("cache"), PAGE) as url:
        yield url


def token(page: Page, position: int) -> Locator:
    return page.locator(".transcript .token").nth(position)


def place(page: Page, position: int) -> dict[str, float]:
    """A point on a token, in the window; on its first line, where it has two."""
    box = token(page, position).evaluate("token => token.getClientRects()[0].toJSON()")
    return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}


def tap(page: Page, position: int) -> None:
    box = token(page, position).bounding_box()
    assert box
    point = place(page, position)
    token(page, position).tap(position={"x": point["x"] - box["x"], "y": point["y"] - box["y"]})


def fingers(page: Page) -> Touch:
    """A function that touches tokens: `touchStart`, `touchMove` and `touchEnd`, a finger a position."""
    session = page.context.new_cdp_session(page)
    assert LONG_PRESS
    page.evaluate(HELD, int(LONG_PRESS[1]))

    def touch(kind: str, *positions: int) -> None:
        points = [place(page, position) | {"id": finger} for finger, position in enumerate(positions)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return touch


def press_long(page: Page, touch: Touch, position: int) -> None:
    touch("touchStart", position)
    page.evaluate("pressLong()")
    expect(page.locator(".spanned")).to_have_count(1)


def swipe(page: Page, position: int) -> None:
    """A stroke upwards from a token, after which the finger stays for as long as a long press takes."""
    start = place(page, position)
    session = page.context.new_cdp_session(page)
    points = [[start | {"y": start["y"] - way}] for way in range(0, 220, 20)]
    for kind, point in [("touchStart", points[0]), *[("touchMove", point) for point in points[1:]]]:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": point})
    page.evaluate("new Promise(done => setTimeout(done, 500))")  # it rests, and what scrolls comes to rest
    page.evaluate("pressLong()")
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    becomes(page, lambda: place(page, position)["y"] < start["y"] - 100, True)


def test_a_long_press_and_a_tap_mark_a_span(visit: Visit) -> None:
    page = visit("/", touch=True, width=500)
    touch = fingers(page)
    press_long(page, touch, 61)
    touch("touchEnd")
    chip = page.get_by_role("button", name="Clear the span")
    expect(chip).to_have_text("span from 61: tap its last token ×")
    expect(page.get_by_text("span None")).to_be_visible()
    tap(page, 45)
    expect(page.get_by_text("span (45, 61)")).to_be_visible()
    expect(page.locator(".spanned")).to_have_count(17)
    expect(chip).to_have_text("span 45 to 61 · 17 tokens ×")
    tap(page, 50)
    expect(page.get_by_text("span None")).to_be_visible()
    tap(page, 50)
    expect(page.locator(".tooltip.held dd").nth(2)).to_have_text("50")


def test_one_token_is_a_span_too(visit: Visit) -> None:
    page = visit("/", touch=True)
    touch = fingers(page)
    press_long(page, touch, 61)
    touch("touchEnd")
    tap(page, 61)
    expect(page.get_by_text("span (61, 61)")).to_be_visible()


def test_a_finger_that_stays_down_takes_the_end_along(visit: Visit) -> None:
    page = visit("/", touch=True, width=500)
    touch = fingers(page)
    start = place(page, 40)
    press_long(page, touch, 40)
    for position in (44, 60, 52):
        touch("touchMove", position)
        expect(page.locator(".spanned")).to_have_count(position - 39)
    assert place(page, 40) == start
    touch("touchEnd")
    expect(page.get_by_text("span (40, 52)")).to_be_visible()


def test_a_span_that_was_begun_can_be_given_up(visit: Visit) -> None:
    page = visit("/", touch=True)
    touch = fingers(page)
    press_long(page, touch, 61)
    touch("touchEnd")
    page.get_by_role("button", name="Clear the span").tap()
    expect(page.locator(".spanned")).to_have_count(0)
    tap(page, 70)
    expect(page.locator(".tooltip.held dd").nth(2)).to_have_text("70")
    expect(page.get_by_text("span None")).to_be_visible()


def test_a_span_goes_on_after_scrolling(visit: Visit) -> None:
    page = visit("/", touch=True, width=500)
    touch = fingers(page)
    press_long(page, touch, 61)
    touch("touchEnd")
    swipe(page, 80)
    tap(page, 250)
    expect(page.get_by_text("span (61, 250)")).to_be_visible()


def test_a_swipe_scrolls_and_marks_nothing(visit: Visit) -> None:
    page = visit("/?case=long", touch=True)
    fingers(page)
    swipe(page, 100)
    expect(page.locator(".spanned, .tooltip.open")).to_have_count(0)
    expect(page.get_by_text("span None")).to_be_visible()


def test_two_fingers_begin_no_span(visit: Visit) -> None:
    page = visit("/", touch=True)
    touch = fingers(page)
    touch("touchStart", 61)
    touch("touchStart", 61, 90)
    touch("touchEnd", 61)
    touch("touchEnd")
    press_long(page, touch, 30)
    expect(page.locator(".spanned")).to_have_text([token(page, 30).inner_text()])
