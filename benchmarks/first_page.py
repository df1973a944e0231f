"""From the run command with an empty cache to the first page with data, as `make run` does after installation.

    python -m benchmarks.first_page

Starts `python -m kthink_core up` in a new cache, waits for the app's health, opens it in Chromium and waits until the
page shows the inferences. Then stops it and starts it again over the full cache.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.browser import open_browser
from benchmarks.report import machine, markdown

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 600.0
"""Seconds after which a start counts as failed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(cache: Path) -> Iterator[str]:
    """`up` over a cache; yields the app's address once it answers its health check."""
    port = free_port()
    environment = os.environ | {"KTHINK_CACHE": str(cache), "KTHINK_APP_PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", "kthink_core", "up"], cwd=ROOT, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"`up` ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise TimeoutError(f"{address} did not answer in {PATIENCE:.0f} s")


def seconds_to_first_page(cache: Path) -> float:
    began = time.perf_counter()
    with running(cache) as address, open_browser() as browser:
        page = browser.new_page()
        page.goto(address)
        page.get_by_test_id("stDataFrame").first.wait_for(timeout=60_000)
        return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "empty cache, 32 inferences computed first": f"{seconds_to_first_page(Path(folder)):.1f} s",
            "full cache": f"{seconds_to_first_page(Path(folder)):.1f} s",
        }
    print(markdown("From `up` to the first page in a browser", rows, machine()))


if __name__ == "__main__":
    main()
