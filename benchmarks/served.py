"""The app, served for a browser: by tests and benchmarks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STREAMLIT = ("-m", "streamlit", "run", "app.py", "--server.fileWatcherType", "none")
UP = ("-m", "kthink_core", "up")
PATIENCE = 300.0
"""Seconds after which a start counts as failed."""


@contextmanager
def served(cache: Path, command: Sequence[str] = STREAMLIT, **environment: str) -> Iterator[str]:
    """The address of a new server of the app over a cache folder, once it answers its health check; with
    `KTHINK_BASE_PATH` that path is a part of it."""
    port = str(free_port())
    where = {"KTHINK_APP_PORT": port, "STREAMLIT_SERVER_PORT": port, "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}
    where |= {"KTHINK_WORKER_PORT": str(free_port())}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=os.environ | where | {"KTHINK_CACHE": str(cache)} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}{environment.get('KTHINK_BASE_PATH', '')}"
        _wait_until_healthy(f"{address}/_stcore/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


_given: set[int] = set()


def free_port() -> int:
    """A port of this machine that nobody listens on, each time another; of pytest's processes, each takes others."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER", "gw0"), os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        is_own = port // 2 % int(workers) == int(worker[2:])  # Linux gives every second port to those that ask for any
        if is_own and port not in _given:
            _given.add(port)
            return port


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise RuntimeError(f"the app did not answer at {address}")
