"""The features of a hookpoint as the view sorts and searches them."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.ui.parts import feature_lists, note_panel
from kthink_core.ui.view import cache, choices, list_choice
from kthink_core.ui.view.list_link import MOST as MOST_ROWS
from kthink_core.ui.view.list_link import NONE
from kthink_core.ui.view.page import Page

COLUMNS = (
    "inferences", "active_inferences", "positions", "max_activation", "think_minus_answer", "right_minus_wrong",
)  # fmt: skip
"""What the table of features shows of each."""
MOST = 10_000
"""Rows of a file of features."""


def controls(page: Page) -> None:
    """How features are sorted and searched, how many of an inference count as relevant, and of which list they are."""
    with_lists = list_choice.offered(page)
    sort, relevant, search, *of_list = st.columns([2, 1, 2, *([2] if with_lists else [])], vertical_alignment="bottom")
    with sort:
        choices.sort(page)
    with relevant:
        choices.relevant(page)
    with search:
        choices.search(page)
    for column in of_list:
        with column:
            list_choice.select(page, "all features")


def table(page: Page, top: int = 100) -> pd.DataFrame:
    """The first features by the view's sort, of those of its list that its search finds: the answer of
    `queries.feature_table`."""
    view = page.view
    return page.ask(queries.feature_table, view.hookpoint, view.scope, view.sort, view.relevant, top, _found(page))


def whole(page: Page) -> Callable[[], pd.DataFrame]:
    """What asks for all of them, `MOST` at most, in any thread."""
    reader, view, found = cache.reader(page.source), page.view, _found(page)
    return lambda: queries.feature_table(reader, view.hookpoint, view.scope, view.sort, view.relevant, MOST, found)


def held(table: pd.DataFrame) -> str:
    """What the table shows, and what its files hold."""
    return (
        f"The first {len(table)} by this sort; click a row to see the feature. The files below hold all of them, "
        f"{MOST:,} at most, with labels and top tokens."
    )


def rows(page: Page, table: pd.DataFrame, most: int) -> tuple[int, ...]:
    """Features for the rows of a matrix: those of the view's list in its order, also those that never fire; without a
    list the first of `table`, which is what `table` answered, `most` at most. Says so where a list has more."""
    if page.view.list == NONE:
        return tuple(table["feature"].tolist())[:most]
    found = _found(page) or ()
    if len(found) > MOST_ROWS:
        st.caption(f"Rows are the first {MOST_ROWS} of {len(found):,} features of the list.")
    return found[:MOST_ROWS]


def _found(page: Page) -> tuple[int, ...] | None:
    """The features of the view's list, as far as the view's search finds them; None where it has neither."""
    view, chosen = page.view, feature_lists.chosen(page)
    if not view.search.strip():
        return None if chosen is None else chosen.features
    by_token = page.ask(queries.feature_search, view.hookpoint, view.scope, view.search, MOST)["feature"].tolist()
    found = dict.fromkeys([*note_panel.label_search(page, view.hookpoint, view.search), *by_token])
    return tuple(found if chosen is None else filter(found.__contains__, chosen.features))


def first(page: Page) -> int:
    """The feature to show: the view's, else the one that is relevant in most inferences."""
    view = page.view
    if view.feature is not None:
        return view.feature
    counts = page.ask(queries.feature_counts, view.hookpoint, view.scope, top=1)["feature"].tolist()
    return counts[0] if counts else 0


def nothing_found(page: Page) -> str:
    """Why the table is empty, and what to do."""
    view, chosen = page.view, feature_lists.chosen(page)
    if chosen is not None and not chosen.features:
        return f"Of {view.hookpoint} the list has no feature. Choose another hookpoint or list."
    if view.search.strip():
        return (
            f"No feature that fires in scope {view.scope} has this text in its label or among its five top tokens. "
            "Shorten the text, or choose another scope or hookpoint."
        )
    return f"No feature fires in scope {view.scope}."
