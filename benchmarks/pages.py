"""How long a page takes: its script on the server, cold and warm, and what a visitor waits for in the browser.

    python -m benchmarks.pages [--cache cache] [--experiment demo]

Cold: a new reader and no cached answer. First paint: from the request to the first pixels; drawn: until nothing on the
page waits any more, in a new browser session, or from a click in the navigation bar. A page should take 1 s at most.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

import streamlit as st
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as BrowserPage
from streamlit.logger import set_log_level
from streamlit.testing.v1 import AppTest

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown
from benchmarks.served import served

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "overview": "/",
    **{name: f"/{name}" for name in ("inference", "feature", "across", "compare", "notes", "guide")},
}
TITLES = {"across": "Across inferences"}
ROUNDS = 5
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
WAITING = "[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]"


def script_seconds(page: str, experiment: str) -> tuple[float, float]:
    """Median time of the page's script, cold and warm."""
    cold, warm = [], []
    for _ in range(ROUNDS):
        st.cache_data.clear()
        st.cache_resource.clear()
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        app.query_params["experiment"] = experiment
        app.switch_page(f"pages/{page}.py")
        for seconds in (cold, warm):
            begin = time.perf_counter()
            app.run()
            seconds.append(time.perf_counter() - begin)
        if app.exception or app.error:
            raise SystemExit(f"page {page} failed: {[str(element.value) for element in (*app.exception, *app.error)]}")
    return statistics.median(cold), statistics.median(warm)


def browser_seconds(browser: Browser, url: str) -> tuple[float, float]:
    """Median time to the first paint and until the page is drawn, each in a new session without a browser cache."""
    painted, drawn = [], []
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1440, "height": 1000})
        page = context.new_page()
        begin = time.perf_counter()
        page.goto(url)
        _wait_until_drawn(page)
        drawn.append(time.perf_counter() - begin)
        painted.append(page.evaluate(FIRST_PAINT))
        context.close()
    return statistics.median(painted), statistics.median(drawn)


def switching_seconds(browser: Browser, address: str, title: str) -> float:
    """Median time from a click in the navigation bar until the page is drawn."""
    taken = []
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    for _ in range(ROUNDS):
        other = "/feature" if title != "Feature" else "/inference"
        page.goto(address + other)
        _wait_until_drawn(page)
        before = page.locator("h1").first.inner_text()
        link = page.get_by_role("link", name=title, exact=True)
        begin = time.perf_counter()
        link.click()
        expect(page.locator("h1").first).not_to_have_text(before, timeout=60_000)
        _wait_until_drawn(page)
        taken.append(time.perf_counter() - begin)
    page.context.close()
    return statistics.median(taken)


def _wait_until_drawn(page: BrowserPage) -> None:
    expect(page.locator("h1").first).to_be_visible(timeout=60_000)
    expect(page.locator(WAITING)).to_have_count(0, timeout=60_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--experiment", default="demo")
    options = parser.parse_args()
    set_log_level("error")  # it warns of running without a server, which is meant
    os.environ["KTHINK_CACHE"] = str(options.cache.absolute())
    rows: dict[str, str] = {}
    with open_browser() as browser, served(options.cache.absolute()) as address:
        for page, path in PAGES.items():
            cold, warm = script_seconds(page, options.experiment)
            painted, drawn = browser_seconds(browser, f"{address}{path}?experiment={options.experiment}")
            rows[f"{page}: script, cold / warm"] = f"{cold:.2f} s / {warm:.2f} s"
            rows[f"{page}: first paint / drawn, new browser session"] = f"{painted:.2f} s / {drawn:.2f} s"
            rows[f"{page}: drawn after a click"] = (
                f"{switching_seconds(browser, address, TITLES.get(page, page.title())):.2f} s"
            )
    print(markdown(f"Pages, median of {ROUNDS}", rows, machine()))


if __name__ == "__main__":
    main()
