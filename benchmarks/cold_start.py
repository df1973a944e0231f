"""From the start of `up`, with the demo there, until the app is well and the worker ready for a prompt.

    python -m benchmarks.cold_start [--rounds 3] [--busy 4]

Then live generations run and a page is open, and SIGTERM ends both. With --busy, beside so many programs that take what
they get of the processor.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.busy import busy
from benchmarks.generating import PATIENCE, generating
from benchmarks.report import machine, markdown
from benchmarks.served import ROOT, UP, free_port
from kthink_core.errors import WorkerMissing
from kthink_core.live.client import WorkerClient
from kthink_core.live.healthy import complaint
from kthink_core.settings import WorkerSettings, from_environment
from tests.app_socket import visiting


def start_and_stop(cache: Path) -> tuple[float, float, int]:
    """Seconds until both are healthy, seconds from SIGTERM to their end, and the exit status."""
    ports = {"KTHINK_APP_PORT": str(free_port()), "KTHINK_WORKER_PORT": str(free_port()), "KTHINK_CACHE": str(cache)}
    os.environ.update(ports)
    began = time.perf_counter()
    process = psutil.Popen(
        [sys.executable, *UP], cwd=ROOT, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while complaint("app") or not _ready():
        if process.poll() is not None or time.perf_counter() - began > PATIENCE:
            raise RuntimeError("it did not become healthy")
        time.sleep(0.05)
    healthy = time.perf_counter() - began
    children = process.children(recursive=True)
    with (
        visiting(f"http://127.0.0.1:{ports['KTHINK_APP_PORT']}") as visit,
        generating(int(ports["KTHINK_WORKER_PORT"])),
    ):
        visit.run()
        began = time.perf_counter()
        process.terminate()
        status = process.wait(PATIENCE)
        psutil.wait_procs(children, PATIENCE)
        return healthy, time.perf_counter() - began, status


def _ready() -> bool:
    try:
        with WorkerClient(from_environment(WorkerSettings)) as client:
            return client.health().status == "ready"
    except WorkerMissing:
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="so many busy processes beside it")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        for preset in ("demo", "demo-residual"):
            made = ("-m", "kthink_core", "precompute", "--preset", preset, "--cache", folder)
            subprocess.run([sys.executable, *made], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        with busy(options.busy):
            rounds = [start_and_stop(Path(folder)) for _ in range(options.rounds)]
    rows = {
        "app well and worker ready after": ", ".join(f"{healthy:.1f}" for healthy, _, _ in rounds) + " s",
        "both ended after SIGTERM": ", ".join(f"{ended:.1f}" for _, ended, _ in rounds) + " s",
        "status": ", ".join(str(status) for _, _, status in rounds),
        "beside it": f"{options.busy} busy processes; load {load:.1f} before",
    }
    print(markdown("From `up` to ready, and from SIGTERM to the end", rows, machine()))


if __name__ == "__main__":
    main()
