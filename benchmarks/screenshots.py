"""Pictures of the pages for the documentation: `make screenshots` writes docs/*.png from the experiment `demo`.

python -m benchmarks.screenshots [--cache cache] [--out docs]
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, expect

from benchmarks.browser import open_browser
from benchmarks.pages import WAITING
from benchmarks.served import served
from kthink_core.queries import feature_counts
from kthink_core.store.reader import open_reader
from kthink_core.ui.permalink import View, format_view

WIDTH, TALLEST = 1440, 1700


def picture(browser: Browser, url: str) -> bytes:
    """The page as PNG, as tall as its content up to a limit."""
    page = browser.new_page(viewport={"width": WIDTH, "height": 1000}, color_scheme="light")
    page.goto(url)
    for height in (1000, TALLEST):  # what comes into sight by growing is drawn then
        page.set_viewport_size({"width": WIDTH, "height": height})
        expect(page.locator("h1").first).to_be_visible(timeout=60_000)
        expect(page.locator(WAITING)).to_have_count(0, timeout=60_000)
        for chart in page.locator("[data-testid=stVegaLiteChart]:visible").all():
            expect(chart.locator("canvas, svg.marks").first).to_be_visible()
    bottom = page.evaluate("document.querySelector('[data-testid=stMainBlockContainer] > div').scrollHeight + 160")
    page.set_viewport_size({"width": WIDTH, "height": min(int(bottom), TALLEST)})
    page.wait_for_load_state("networkidle")
    content = page.screenshot(animations="disabled")
    page.close()
    return content


def compressed(png: bytes) -> bytes:
    packed = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").save(packed, "PNG", optimize=True)
    return packed.getvalue()


def views(options: argparse.Namespace) -> dict[str, str]:
    """The address of each picture."""
    with open_reader(options.cache, "demo") as reader:
        hookpoint = options.hookpoint or next(iter(reader.experiment.saes))
        feature = options.feature
        if feature is None:
            feature = int(feature_counts(reader, hookpoint, top=1)["feature"].to_list()[0])
    view = urlencode(format_view(View("demo", hookpoint, options.inference, feature=feature)))
    return {"overview": "/?experiment=demo", "inference": f"/inference?{view}", "feature": f"/feature?{view}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--inference", type=int, default=0)
    parser.add_argument("--hookpoint")
    parser.add_argument("--feature", type=int)
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    with open_browser() as browser, served(options.cache.absolute()) as address:
        for name, path in views(options).items():
            content = compressed(picture(browser, address + path))
            (options.out / f"{name}.png").write_bytes(content)
            print(f"{options.out / name}.png: {len(content) // 1024} KiB")


if __name__ == "__main__":
    main()
