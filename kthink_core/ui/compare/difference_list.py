"""The features that differ between two sides, the largest difference first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import pandas as pd
import streamlit as st

from kthink_core.errors import BadValue, NotComparable, UnknownName
from kthink_core.evidence.caveats import ALPHA
from kthink_core.evidence.difference_table import Asked, differences, remarks
from kthink_core.queries import Scope
from kthink_core.ui.parts import feature_tables, header, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import cache
from kthink_core.ui.view.page import Page, go, lead, with_features
from kthink_core.ui.view.pair_link import Pair

LISTED = 100
_WHOLE = 100_000
"""Rows of a file, at most."""
_CLICKS: dict[Literal["sides", "feature"], str] = {"sides": "shows both sides", "feature": "opens the feature"}
_COLUMNS = ("difference", "low", "high", "q", "positions_a", "positions_b", "mean_a", "mean_b")
"""All in sight on a screen 1280 px wide; the files have more."""


def draw(page: Page, other: Page | None, asked: Asked, names: tuple[str, str]) -> None:
    """`other`: the second experiment where there is one; `names`: of both sides."""
    view = page.view
    st.header("Features that differ", help=terms.help("difference_table"))
    source = None if other is None else other.source
    try:
        with st.spinner("Comparing all features …"):
            table = page.ask(_rows, view.hookpoint, view.scope, asked, source, LISTED)
    except (BadValue, NotComparable, UnknownName) as error:
        message = plain(str(error))
        header.nothing(message[:1].upper() + message[1:] + ".")
        return
    given: dict[str, Any] = {"hookpoint": view.hookpoint, "inference": asked.inference}
    if other is not None:
        given["other"] = cache.reader(other.source)
    _told(table, asked, names)
    for line in remarks(cache.reader(page.source), table, given):
        st.caption(plain(line))
    if table.empty:
        return
    by_key = f"choose_click {names}"
    click = st.segmented_control(
        "A click on a row", list(_CLICKS), default="sides", required=True, format_func=_CLICKS.__getitem__, key=by_key
    )
    first = table.iloc[0]
    titles = {"difference": "Difference"}
    titles |= {f"positions_{letter}": f"{letter}, of {int(first[f'of_{letter}']):,}" for letter in "ab"}
    rows = partial(_rows, cache.reader(page.source), view.hookpoint, view.scope, asked, source, _WHOLE)
    columns = [name for name in _COLUMNS if table[name].notna().to_numpy().any()]
    feature_tables.draw(
        page, table, columns, _opened(page, other, asked, table, opens=click == "feature"),
        name=f"differences of {names[0]} and {names[1]}", narrow=True, rows_of_file=rows, most=_WHOLE, titles=titles,
        scope="all" if asked.span else None,
    )  # fmt: skip


def _rows(
    reader: cache.Reader, hookpoint: str, scope: Scope, asked: Asked, other: cache.Source | None, top: int
) -> pd.DataFrame:
    """`page.ask` tells the other experiment's states apart by its source."""
    there = None if other is None else cache.reader(other)
    return differences(reader, hookpoint, scope, *asked, there, top)


def _told(table: pd.DataFrame, asked: Asked, names: tuple[str, str]) -> None:
    if table.empty:
        return
    units = "inferences" if asked.inference is None else "sentences"
    first = table.to_dict("records")[0]
    sides = [
        f"{letter}, **{plain(name)}**: {first[f'of_{letter}']:,} positions, n = {first[f'n_{letter}']} {units}"
        for letter, name in zip("ab", names, strict=True)
    ]
    found = f" Of the {len(table)} listed, **{sum(q < ALPHA for q in table['q'].tolist())}** differ with q < {ALPHA}."
    st.markdown(f"{'; '.join(sides)}.{found if table['q'].notna().to_numpy().any() else ''}")


def _opened(page: Page, other: Page | None, asked: Asked, table: pd.DataFrame, *, opens: bool) -> Callable[[int], None]:
    """What a click on a feature does."""
    places = {row["feature"]: (row["inference_a"], row["inference_b"]) for row in table.to_dict("records")}

    def opened(feature: int) -> None:
        shown = with_features(page.view, (feature,))
        if opens:
            lead("feature", shown)
        elif asked.inference is not None or other is None:
            go(shown)
        else:  # of two experiments, the inferences in which it is strongest; where it is silent, any
            here, there = places[feature]
            number = other.inferences[0] if pd.isna(there) else there
            at = page.view.inference if pd.isna(here) else here
            go(replace(shown, inference=at, span=None, position=None, pair=Pair("inferences", None, number)))

    return opened
