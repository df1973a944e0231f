"""By how much a trace has more of a feature than is usual: the lift over the experiment that it is measured by."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.queries.trace import Trace
from kthink_core.store.scopes import Scope
from kthink_core.ui.view.page import Page
from kthink_core.ui.view.yardstick import yardstick

_ALL = 2**31 - 1


def with_lift(page: Page, ranked: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    """Ranked features with the lift over the page's yardstick: null where a feature never fires there, no column at all
    where there is none."""
    whole, ranked = yardstick(page), ranked.drop(columns="lift", errors="ignore")
    if whole is None or not whole.inferences:
        return ranked
    features = tuple(ranked["feature"].tolist())
    usual = whole.ask(queries.feature_shares, page.view.hookpoint, features, scope)["share"]
    return ranked.assign(lift=ranked["share"] / usual.where(usual > 0))


def by_lift(page: Page, trace: Trace, scope: Scope, top: int) -> pd.DataFrame:
    """A trace's features by the lift over the page's yardstick; what never fires there comes first."""
    found = with_lift(page, trace.ranked(page.view.hookpoint, scope, _ALL), scope)
    if "lift" not in found:
        st.caption("There is nothing stored to measure lift by: the features are by their maximum.")
    else:
        order = ["lift", "max_activation", "feature"]
        found = found.sort_values(order, ascending=[False, False, True], na_position="first", ignore_index=True)
    return found.head(top).assign(rank=range(1, min(top, len(found)) + 1))
