"""Every benchmark in turn: `make bench`. Needs Chromium for the browser's part, and about ten minutes."""

from __future__ import annotations

import subprocess
import sys

NAMES = (
    "precompute", "store", "kill", "pages", "load", "transcript", "first_page", "cold_start", "live", "keep", "readers",
    "alternatives", "checks", "evidence", "contrasts", "injection", "sweep", "causes", "sentences", "steering",
    "training", "visitors",
)  # fmt: skip


def main() -> None:
    failed = [name for name in NAMES if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"]).returncode]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
