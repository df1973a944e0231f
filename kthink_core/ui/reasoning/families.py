"""Families: features that fire at the same positions, or whose decoder rows agree, as one line that opens."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.evidence.duplicates import COSINE, SUPPORT, families
from kthink_core.ui.parts import feature_names, feature_tables, header, terms
from kthink_core.ui.parts.writing import plain
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import Page, go, lead, with_features
from kthink_core.ui.view.permalink import OVERLAPS


def draw(page: Page) -> None:
    """The tab of the page: all families of two or more, and the members of one."""
    view = page.view
    choices.pick("They share at least", "overlap", dict(zip(OVERLAPS, map("{} %".format, OVERLAPS), strict=True)), page)
    table = page.ask(families, view.hookpoint, view.scope, view.overlap / 100)
    if table.empty:
        header.nothing(f"No feature fires in scope {view.scope}.")
        return
    several = table.loc[table["members"] > 1]
    st.header("Families", help=terms.help("family"))
    firsts = several.loc[several["family"] == several["feature"]].reset_index(drop=True)
    st.caption(
        f"Of the first {len(table):,} features, by inferences in which they are relevant, then by their maximum, "
        f"{len(several):,} are in {'a family' if len(firsts) == 1 else f'{len(firsts):,} families'} of two or more, "
        "the others like none of them. Alike: "
        f"at least {SUPPORT} shared positions and {view.overlap} % of those at which either fires, or decoder rows "
        f"with a cosine of {COSINE} or more."
    )
    if firsts.empty:
        header.nothing("No two features are so much alike: choose a smaller share.")
        return
    feature_tables.draw(
        page, firsts, ("members", "inferences", "positions"), lambda to: go(with_features(view, (to,))),
        name="families", rows=10,
    )  # fmt: skip
    _members(page, several, firsts)


def _members(page: Page, several: pd.DataFrame, firsts: pd.DataFrame) -> None:
    """The family of the view's feature, or the first one."""
    own = several.loc[several["feature"] == page.view.feature, "family"].tolist()
    family = own[0] if own else int(firsts["feature"].iloc[0])
    st.header(f"Family of feature {plain(feature_names.name(page, page.view.hookpoint, family))}")
    st.caption(
        "The first is the one that is relevant in most inferences; each other is compared with it. "
        "Cosines are known of the ten nearest rows. Click a row to see the feature."
    )
    members = several.loc[several["family"] == family].reset_index(drop=True)
    feature_tables.draw(
        page, members, ("inferences", "positions", "shared", "overlap", "family_cosine"),
        lambda to: lead("feature", with_features(page.view, (to,))),
        name=f"family of {family}", bars_to={"overlap": 1, "family_cosine": 1}, rows=15,
    )  # fmt: skip
