"""Cases in which every two values meet, where all combinations of three lists would be many more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def meeting(stores: Iterable[str], scopes: Iterable[str], others: Iterable[Any]) -> list[tuple[str, str, Any]]:
    """Each scope with each other value, in as many stores as it takes for each scope to be seen in every store.

    The stores rotate, so that each other value is seen in (nearly) every store, too.
    """
    stores, others = list(stores), list(others)
    rounds = -(-len(stores) // len(others))
    return [
        (stores[(first + second + turn * len(others)) % len(stores)], scope, other)
        for first, scope in enumerate(scopes)
        for second, other in enumerate(others)
        for turn in range(rounds)
    ]
