"""Columns of numbers in tables: the digits that tell values apart, and bars that can be compared."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as some

from kthink_core.ui.parts.numerals import column


def written(values: list[float | None], form: str) -> list[str]:
    """As the browser writes them: `%d`, `%f` and `%g` there are those of sprintf."""
    return [form % value for value in values if value is not None]


@pytest.mark.parametrize(
    ("values", "options", "shown"),
    [
        ([23.742, 5.0, 0.1], {"decimals": 2}, ["23.74", "5.00", "0.10"]),
        ([23.742, 0.0012], {"decimals": 2}, ["23.7420", "0.0012"]),
        ([23.742, 0.000123], {"decimals": 2}, ["23.74", "0.000123"]),
        ([3, 14], {}, ["3", "14"]),
        ([31.0, math.nan], {"unit": " of 32"}, ["31 of 32"]),
        ([0.1234, 0.5, 1.0], {"decimals": 1, "unit": "%"}, ["12.3%", "50.0%", "100.0%"]),
        ([0.1234, 0.0004], {"decimals": 1, "unit": "%"}, ["12.340%", "0.040%"]),
        ([0.12, -0.3 + 0.1 + 0.2], {"decimals": 1, "unit": "%"}, ["12.0%", "0.0%"]),
        ([56.25, 0.84], {"decimals": 1, "unit": "×"}, ["56.25×", "0.84×"]),
        ([0.0, 0.0], {"decimals": 2}, ["0.00", "0.00"]),
        ([math.inf, 2.0], {"decimals": 1, "unit": "×"}, ["inf×", "2.0×"]),
        ([], {"decimals": 2}, []),
    ],
)
def test_numbers_have_the_digits_that_tell_them_apart(values: list[float], options: dict, shown: list[str]) -> None:
    found = column("Title", values, **options)
    assert written(found.values, found.config["type_config"]["format"]) == shown
    assert [value is None for value in found.values] == [math.isnan(value) for value in values]


@given(
    some.lists(some.floats(0, 1e6, width=32) | some.just(math.nan), min_size=1, max_size=30),
    some.sampled_from([("", 2), ("%", 1), ("×", 1)]),
)
def test_bars_can_be_compared_between_rows(values: list[float], kind: tuple[str, int]) -> None:
    """The browser leaves a bar what the longer of its number and that of a full bar leaves: all alike, if no number is
    longer than that of a full bar."""
    unit, decimals = kind
    found = column("Title", values, unit=unit, decimals=decimals, bar_to="largest")
    config = found.config["type_config"]
    if config["type"] == "number":
        assert min(value for value in found.values if value) < 0.001
        return
    full = config["format"] % config["max_value"]
    assert all(len(text) <= len(full) for text in written(found.values, config["format"]))
    shown = [text for text, value in zip(written(found.values, config["format"]), found.values, strict=False) if value]
    assert all(re.search("[1-9]", text) for text in shown) or None in found.values


def test_a_full_bar_is_what_is_asked_for() -> None:
    assert column("Title", [3, 4], bar_to=32).config["type_config"]["max_value"] == 32
    assert column("Title", [0.3], decimals=1, unit="%", bar_to=1).config["type_config"]["max_value"] == 100
    assert column("Title", [0, 0], bar_to="largest").config["type_config"]["max_value"] == 1
