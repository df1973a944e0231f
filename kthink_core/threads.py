"""How torch's threads wait for each other: asleep.

OpenMP's libgomp, which torch's wheels bring along, lets them spin for some milliseconds. Where another program wants
the core, the one that spins keeps it from the one that is waited for: a run beside two others takes ten times as long.
"""

from __future__ import annotations

import os

POLICY = "OMP_WAIT_POLICY"
"""What libgomp reads once, when torch is imported."""


def wait_asleep() -> None:
    """Before torch is imported. What the environment says already stays."""
    os.environ.setdefault(POLICY, "PASSIVE")
