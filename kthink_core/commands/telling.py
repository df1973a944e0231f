"""What a command tells beside its answer."""

from __future__ import annotations

import sys

from kthink_core import signs


def tell(line: str) -> None:
    """On stderr. The line may repeat what stands in a file from elsewhere, which a terminal would obey."""
    print(f"kthink: {signs.revealed(line)}", file=sys.stderr)
