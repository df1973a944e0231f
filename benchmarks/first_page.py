"""From the run command with an empty cache to the first page with data, as `make run` does after installation.

    python -m benchmarks.first_page
    python -m benchmarks.first_page --busy 2     beside two other programs that take what they get of the processor

Starts `python -m kthink_core up` in a new cache, opens the app in Chromium once it answers, and waits until the page
shows inferences; they appear there by themselves. Then stops it and does so again over the full cache.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benchmarks.browser import open_browser
from benchmarks.busy import busy
from benchmarks.report import machine, markdown
from benchmarks.served import UP, served


def seconds_to_first_page(cache: Path) -> float:
    with open_browser() as browser:
        began = time.perf_counter()
        with served(cache, UP) as address:
            page = browser.new_page()
            page.goto(address)
            page.get_by_text("Inferences", exact=True).wait_for(timeout=300_000)
            return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="so many busy processes beside it")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, busy(options.busy):
        rows = {
            "empty cache, until the first inferences show": f"{seconds_to_first_page(Path(folder)):.1f} s",
            "full cache": f"{seconds_to_first_page(Path(folder)):.1f} s",
            "beside it": f"{options.busy} busy processes; load {load:.1f} before",
        }
    print(markdown("From `up` to the first page in a browser", rows, machine()))


if __name__ == "__main__":
    main()
