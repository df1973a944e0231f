"""From the run command with an empty cache to the first page with data, as `make run` does after installation.

    python -m benchmarks.first_page

Starts `python -m kthink_core up` in a new cache, opens the app in Chromium once it answers, and waits until the page
shows inferences; they appear there by themselves. Then stops it and does so again over the full cache.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown
from benchmarks.served import UP, served


def seconds_to_first_page(cache: Path) -> float:
    with open_browser() as browser:
        began = time.perf_counter()
        with served(cache, UP) as address:
            page = browser.new_page()
            page.goto(address)
            page.get_by_text("Inferences", exact=True).wait_for(timeout=60_000)
            return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "empty cache, until the first inferences show": f"{seconds_to_first_page(Path(folder)):.1f} s",
            "full cache": f"{seconds_to_first_page(Path(folder)):.1f} s",
        }
    print(markdown("From `up` to the first page in a browser", rows, machine()))


if __name__ == "__main__":
    main()
