"""How an inference came out. Every inference has exactly one verdict; whatever counts or contrasts them goes by it."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["right", "wrong", "cut off", "ungraded"]

VERDICT = """CASE WHEN finish_reason = 'length' THEN 'cut off' WHEN correct THEN 'right' WHEN NOT correct THEN 'wrong'
    ELSE 'ungraded' END"""
"""SQL over the columns of `inferences`. What was cut off at the limit is neither right nor wrong, whatever it wrote;
what ended by itself and has no reference is ungraded."""
