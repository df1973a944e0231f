"""What the receipts of many steered runs come to: by how much vectors changed, and whether what was tried holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from kthink_core.records import Check, Receipt


class Pooled(NamedTuple):
    """Several receipts as one."""

    change: float | None
    """Median over the runs of each run's median of ‖Δh‖ / ‖h‖; None where nothing acted."""
    change_max: float | None
    checked: int
    """Runs on which something was tried."""
    failed: int
    """Those of them on which something does not hold."""
    checks: tuple[Check, ...]
    """Of each name the one that is furthest beyond its limit, or else the largest."""

    @property
    def text(self) -> str | None:
        """The checks in words; None where nothing was tried."""
        return "; ".join(check.text for check in self.checks) or None


def pooled(receipts: Iterable[Receipt]) -> Pooled:
    found = list(receipts)
    whole, tried = joined(found), [receipt.checks for receipt in found if receipt.checks]
    return Pooled(
        change=whole.change_median,
        change_max=whole.change_max,
        checked=len(tried),
        failed=sum(not all(check.holds for check in checks) for checks in tried),
        checks=whole.checks,
    )


def joined(receipts: Sequence[Receipt]) -> Receipt:
    """Those of one intervention in several runs as one: positions added up, medians of medians, each check's worst."""

    def of(name: str) -> list[float]:
        return [value for one in receipts if (value := getattr(one, name)) is not None]

    def middle(name: str) -> float | None:
        return median(of(name)) if of(name) else None

    return Receipt(
        began=min((one.began for one in receipts if one.began is not None), default=None),
        positions=sum(one.positions for one in receipts),
        change_median=middle("change_median"),
        change_max=max(of("change_max"), default=None),
        before_median=middle("before_median"),
        before_max=max(of("before_max"), default=None),
        after_median=middle("after_median"),
        after_max=max(of("after_max"), default=None),
        checks=_worst(receipts),
    )


def failure(of: Pooled, where: str) -> str | None:
    """A sentence on what does not hold of some runs, `where` they are; None where all does."""
    broken = "; ".join(check.text for check in of.checks if not check.holds)
    if not broken:
        return None
    return (
        f"A check does not hold in {of.failed} of {of.checked} runs that were checked, {where}: {broken}. What these "
        "runs show is not what was asked for."
    )


def _worst(receipts: Sequence[Receipt]) -> tuple[Check, ...]:
    """Of each name of a check the one that is furthest beyond its limit, or else the largest."""
    worst: dict[str, Check] = {}
    for check in (check for one in receipts for check in one.checks):
        worst[check.name] = max(worst.get(check.name, check), check, key=_badness)
    return tuple(worst.values())


def _badness(check: Check) -> tuple[bool, float]:
    return not check.holds, check.value
