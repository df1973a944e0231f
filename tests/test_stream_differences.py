"""Two generations beside each other: texts that can be put together again, figures that counting gives, too."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kthink_core.evidence.stream_differences import MOST_WORDS, features_apart, first_difference, words_apart

TEXTS = st.lists(st.sampled_from(["Wait", "wait", ",", " ", "  ", "\n", "12", "<b>", "\u202e", "é"])).map("".join)
FIRINGS = st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 5)), st.floats(0.125, 9, width=32), max_size=20)


@given(TEXTS | st.text(), TEXTS | st.text())
def test_both_texts_are_in_what_was_compared(one: str, other: str) -> None:
    found = words_apart(one, other)
    assert all(stretch.text for stretch in found)
    assert "".join(stretch.text for stretch in found if stretch.kind != "added").split() == one.split()
    assert "".join(stretch.text for stretch in found if stretch.kind != "removed").split() == other.split()
    if one.strip() and other.strip():
        assert "".join(stretch.text for stretch in found if stretch.kind != "added") == one
    if one == other:
        assert {stretch.kind for stretch in found} <= {"same"}


def test_words_are_whole() -> None:
    found = words_apart("Tom has 13 apples.\nWait.", "Tom has 31 apples.\nSo.")
    assert found == (
        ("same", "Tom has "), ("removed", "13 "), ("added", "31 "), ("same", "apples.\n"), ("removed", "Wait."),
        ("added", "So."),
    )  # fmt: skip


def test_a_text_that_repeats_itself_is_compared_as_far_as_it_is_said() -> None:
    found = words_apart("Wait " * 9000, "So " * 3)
    assert [(stretch.kind, len(stretch.text.split())) for stretch in found] == [("removed", MOST_WORDS), ("added", 3)]


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_the_first_token_that_differs(one: list[int], other: list[int]) -> None:
    at = first_difference(one, other)
    if at is None:
        assert one == other
    else:
        assert one[:at] == other[:at] and one[at : at + 1] != other[at : at + 1]


def table(firings: dict[tuple[int, int], float]) -> pd.DataFrame:
    rows = [(position, feature, value) for (position, feature), value in firings.items()]
    columns = {"position": np.int32, "feature": np.int32, "activation": np.float32}
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


@given(FIRINGS, FIRINGS, st.integers(10, 20), st.integers(0, 20))
def test_features_are_counted(
    one: dict[tuple[int, int], float], other: dict[tuple[int, int], float], here: int, there: int
) -> None:
    found = features_apart(table(one), table(other), (here, there))
    assert sorted(found["feature"]) == sorted({feature for _, feature in [*one, *other]})
    for row in found.to_dict("records"):
        for side, firings, of in (("a", one, here), ("b", other, there)):
            values = [value for (_, feature), value in firings.items() if feature == row["feature"]]
            assert row[f"positions_{side}"] == len(values)
            assert row[f"share_{side}"] == len(values) / max(of, 1)
            assert row[f"max_activation_{side}"] == max(values, default=0)
        assert row["share_difference"] == row["share_b"] - row["share_a"]
        assert row["max_difference"] == float(row["max_activation_b"]) - float(row["max_activation_a"])
    sizes = found["share_difference"].abs().tolist()
    keys = [(-size, feature) for size, feature in zip(sizes, found["feature"].tolist(), strict=True)]
    assert keys == sorted(keys)
