"""McNemar's test by counting every way that pairs can fall, Holm's correction by hand."""

from __future__ import annotations

from itertools import product
from math import isnan, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.evidence.mcnemar import exact_p, holm


def counted(b: int, c: int) -> float:
    """The share of all 2^(b + c) ways that are as far from even as the one that is."""
    far = abs(b - c)
    ways = [abs(2 * sum(way) - b - c) for way in product((0, 1), repeat=b + c)]
    return sum(way >= far for way in ways) / len(ways)


@pytest.mark.parametrize(("b", "c"), [(b, c) for b in range(7) for c in range(7)])
def test_mcnemar_is_the_share_of_ways_as_uneven(b: int, c: int) -> None:
    assert exact_p(b, c) == pytest.approx(counted(b, c), abs=1e-12)


def test_known_values() -> None:
    assert exact_p(0, 5) == pytest.approx(0.0625)  # 2 / 32: with five no p is below 0.05
    assert exact_p(0, 6) == pytest.approx(0.03125)
    assert exact_p(0, 0) == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


def test_holm_counts_no_test_that_was_not_made() -> None:
    found = holm([0.01, nan, 0.04])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04]) and isnan(found[1])


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_keeps_the_order_and_never_helps(p: list[float]) -> None:
    found = holm(p)
    assert ((found >= np.array(p)) & (found <= 1)).all()
    assert (np.diff(found[np.argsort(p, kind="stable")]) >= 0).all()
    for level in (0.01, 0.05):  # step down: reject from the smallest as long as p ≤ level / (m − i)
        rejected = 0
        for i, value in enumerate(sorted(p)):
            if value * (len(p) - i) > level:
                break
            rejected += 1
        assert int((found <= level).sum()) == rejected
