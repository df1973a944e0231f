"""How torch's threads wait: as libgomp itself says it, which reads the environment once, when torch is imported."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def loading() -> str:
    """Code that loads what torch is linked with, as torch does, and takes a tenth of the time."""
    torch = importlib.util.find_spec("torch")
    assert torch is not None and torch.submodule_search_locations
    (folder,) = torch.submodule_search_locations
    found = sorted(Path(folder, "lib").glob("libgomp*"))
    return f"import ctypes; ctypes.CDLL({str(found[0])!r})" if found else "import torch"


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


@pytest.mark.parametrize(
    "code", ["import kthink_core, torch", f"import benchmarks; {loading()}", f"import bundle; {loading()}"]
)
def test_threads_wait_a_moment_then_asleep(code: str) -> None:
    taken = told(code)
    assert (taken["OMP_WAIT_POLICY"], taken["GOMP_SPINCOUNT"]) == ("PASSIVE", "3000")


def test_what_the_user_says_stays() -> None:
    for policy, spins in (("ACTIVE", "30000000000"), ("PASSIVE", "0")):
        taken = told(f"import kthink_core; {loading()}", OMP_WAIT_POLICY=policy)
        assert taken["OMP_WAIT_POLICY"] == policy and taken["GOMP_SPINCOUNT"] == spins
    assert told(f"import kthink_core; {loading()}", GOMP_SPINCOUNT="5000")["GOMP_SPINCOUNT"] == "5000"
