"""Two generations of one prompt beside each other: where they part, in which words, and what their features do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal, NamedTuple

import pandas as pd

MOST_WORDS = 2000
"""Words of either text that are compared: comparing takes quadratic time."""
_WORD = re.compile(r"\s*\S+\s*")


class Words(NamedTuple):
    """A stretch of a comparison."""

    kind: Literal["same", "removed", "added"]
    text: str


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The index of the first token that is not the same in both, be it that one of them has ended; None where they are
    equal."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


@lru_cache(maxsize=16)
def words_apart(one: str, other: str) -> tuple[Words, ...]:
    """What must be removed from one text and added to it to have the other, by words: those that are the same are left
    as `difflib` finds them. What lies beyond the first `MOST_WORDS` of either is left out."""
    left, right = (_WORD.findall(text)[:MOST_WORDS] for text in (one, other))
    found: list[Words] = []
    for _, first, last, begin, end in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if left[first:last] == right[begin:end]:
            found.append(Words("same", "".join(left[first:last])))
            continue
        if first < last:
            found.append(Words("removed", "".join(left[first:last])))
        if begin < end:
            found.append(Words("added", "".join(right[begin:end])))
    return tuple(found)


def features_apart(one: pd.DataFrame, other: pd.DataFrame, positions: tuple[int, int], top: int = 50) -> pd.DataFrame:
    """What features do in either generation: feature; positions, share and max_activation of the one (`_a`) and of the
    other (`_b`), 0 where it is silent; and share_difference, max_difference, the other's less the one's. By the size of
    the difference of shares.

    `one`, `other`: position, feature, activation of the positions that count. `positions`: how many these are.
    """
    sides = {}
    for side, table, of in zip("ab", (one, other), positions, strict=True):
        groups = table.groupby("feature")["activation"]
        sides |= {f"positions_{side}": groups.size(), f"share_{side}": groups.size() / max(of, 1)}
        sides |= {f"max_activation_{side}": groups.max()}
    found = pd.DataFrame(sides).fillna(0.0).rename_axis("feature").reset_index()
    found = found.astype({"feature": int, "positions_a": int, "positions_b": int}).assign(
        share_difference=found["share_b"] - found["share_a"],
        max_difference=found["max_activation_b"].astype(float) - found["max_activation_a"].astype(float),
    )
    found = found.assign(size=found["share_difference"].abs())
    found = found.sort_values(["size", "feature"], ascending=[False, True], ignore_index=True)
    return found.drop(columns="size").head(top)
