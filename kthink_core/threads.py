"""How torch's threads wait for each other: awake for a moment, then asleep.

OpenMP's libgomp, which torch's wheels bring along, lets them spin for some milliseconds. Where another program wants
the core, the one that spins keeps it from the one that is waited for: a run beside two others takes three to ten times
as long. Asleep at once, they lose a tenth on a quiet machine, since most waits are shorter than waking up.
"""

from __future__ import annotations

import os

POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"
"""What libgomp reads once, when torch is imported; the second goes before the first."""
MOMENT = 3000
"""Turns of waiting awake, some 0.03 ms."""


def wait_asleep() -> None:
    """Before torch is imported. What the environment says already stays."""
    if POLICY not in os.environ:
        os.environ[POLICY] = "PASSIVE"
        os.environ.setdefault(SPINS, str(MOMENT))
