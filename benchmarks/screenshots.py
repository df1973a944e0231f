"""Pictures of every page: `make screenshots` writes docs/*.png from the experiment `demo`, light and 1440 px wide.

python -m benchmarks.screenshots [--cache cache] [--out docs] [--more FOLDER]

--more: a folder for pictures of the dark theme and of a screen 400 px wide, too; they are for looking at only.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from benchmarks.browser import open_browser
from benchmarks.pages import WAITING
from benchmarks.served import UP, served
from kthink_core.queries import feature_counts
from kthink_core.store.reader import list_experiments, open_reader
from kthink_core.ui.view.permalink import View, format_view

EXPERIMENT = "demo"
QUESTION = "Tom has 3 apples and buys 4 more. How many apples does Tom have now?"


class Screen(NamedTuple):
    """What a picture is taken with."""

    scheme: Literal["light", "dark"]
    width: int
    tallest: int
    """Pixels, as all lengths here."""


DOCUMENTED = Screen("light", 1440, 1700)
MORE = {
    "light": Screen("light", 1440, 6000),
    "dark": Screen("dark", 1440, 6000),
    "narrow": Screen("light", 400, 8000),
    "narrow-dark": Screen("dark", 400, 8000),
}


def picture(browser: Browser, url: str, screen: Screen) -> bytes:
    """The page as PNG, as tall as its content up to a limit."""
    page = browser.new_page(viewport={"width": screen.width, "height": 1000}, color_scheme=screen.scheme)
    page.goto(url)
    if "/live?" in url:
        run_prompt(page)
    for height in (1000, screen.tallest):  # what comes into sight by growing is drawn then
        page.set_viewport_size({"width": screen.width, "height": height})
        expect(page.locator("h1").first).to_be_visible(timeout=60_000)
        expect(page.locator(WAITING)).to_have_count(0, timeout=60_000)
        for chart in page.locator("[data-testid=stVegaLiteChart]:visible").all():
            expect(chart.locator("canvas, svg.marks").first).to_be_visible()
    bottom = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer] > div').scrollHeight + 160")
    page.set_viewport_size({"width": screen.width, "height": min(int(bottom), screen.tallest)})
    page.wait_for_load_state("networkidle")
    content = page.screenshot(animations="disabled")
    page.close()
    return content


def run_prompt(page: Page) -> None:
    """Let the live page have something to show."""
    page.get_by_label("Prompt", exact=True).fill(QUESTION)
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_text(re.compile("^Done, "))).to_be_visible(timeout=60_000)


def compressed(png: bytes) -> bytes:
    packed = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(packed, "PNG", optimize=True)
    return packed.getvalue()


def views(options: argparse.Namespace) -> dict[str, str]:
    """The address of each picture."""
    with open_reader(options.cache, EXPERIMENT) as reader:
        hookpoint = options.hookpoint or next(reversed(reader.experiment.saes))
        counts = feature_counts(reader, hookpoint, top=3)["feature"].tolist()
    feature = counts[0] if options.feature is None else options.feature
    others = tuple(other for other in counts if other != feature)[:2]
    at = View(EXPERIMENT, hookpoint, options.inference, feature=feature)
    addresses = {
        "overview": _address("", View(EXPERIMENT, hookpoint)),
        "inference": _address("inference", replace(at, also=others)),
        "span": _address("inference", replace(at, also=others, span=(60, 90))),
        "feature": _address("feature", at),
        "across": _address("across", at),
        "compare": _address("compare", replace(at, also=others[:1])),
        "compare-inferences": _address("compare", replace(at, against=options.inference + 1)),
        "live": _address("live", replace(at, also=others)),
        "notes": _address("notes", at),
        "reasoning": _address("reasoning", View(EXPERIMENT, hookpoint)),
        "guide": _address("guide", at),
    }
    others = [status.name for status in list_experiments(options.cache) if status.name != EXPERIMENT]
    if others:
        addresses["compare-experiments"] = _address("compare", replace(at, other=others[0]))
    return addresses


def _address(page: str, view: View) -> str:
    return f"/{page}?{urlencode(format_view(view))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--more", type=Path, help="folder for more pictures: dark theme, narrow screen")
    parser.add_argument("--pages", nargs="*", help="only these")
    parser.add_argument("--inference", type=int, default=0)
    parser.add_argument("--hookpoint")
    parser.add_argument("--feature", type=int)
    options = parser.parse_args()
    wanted = {name: path for name, path in views(options).items() if not options.pages or name in options.pages}
    screens = {options.out / f"{name}.png": (path, DOCUMENTED) for name, path in wanted.items()}
    if options.more:
        screens = {
            options.more / f"{name}-{kind}.png": (path, screen)
            for name, path in wanted.items()
            for kind, screen in MORE.items()
        }
    with open_browser() as browser, served(options.cache.absolute(), UP) as address:
        for file, (path, screen) in screens.items():
            content = compressed(picture(browser, address + path, screen))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            print(f"{file}: {len(content) // 1024} KiB")


if __name__ == "__main__":
    main()
