"""How torch's threads wait: as libgomp itself says it, which reads the environment once, when torch is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def told(code: str, **said: str) -> dict[str, str]:
    """What libgomp took for each name in a new process that runs `code`."""
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"OMP_DISPLAY_ENV": "VERBOSE"} | said,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(re.findall(r"(\w+) = '([^']*)'", done.stderr))


@pytest.mark.parametrize("package", ["kthink_core", "benchmarks", "bundle"])
def test_threads_wait_a_moment_then_asleep(package: str) -> None:
    taken = told(f"import {package}, torch")
    assert (taken["OMP_WAIT_POLICY"], taken["GOMP_SPINCOUNT"]) == ("PASSIVE", "3000")


def test_what_the_user_says_stays() -> None:
    for policy, spins in (("ACTIVE", "30000000000"), ("PASSIVE", "0")):
        taken = told("import kthink_core, torch", OMP_WAIT_POLICY=policy)
        assert taken["OMP_WAIT_POLICY"] == policy and taken["GOMP_SPINCOUNT"] == spins
    assert told("import kthink_core, torch", GOMP_SPINCOUNT="5000")["GOMP_SPINCOUNT"] == "5000"
