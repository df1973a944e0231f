"""Features across inferences: the matrix, whose cells lead to the peak tokens, and the count table of the article."""

from functools import partial

import pandas as pd
import streamlit as st

from kthink_core import queries, saved
from kthink_core.ui.injection import injection_button
from kthink_core.ui.parts import (
    clicks,
    download,
    evidence_file,
    feature_names,
    feature_tables,
    header,
    list_dialog,
    matrix,
    quality,
    terms,
)
from kthink_core.ui.view import choices, filters, listed
from kthink_core.ui.view.kept import window
from kthink_core.ui.view.page import (
    Page,
    at_inference,
    errors_shown,
    lead,
    open_page,
    require_inferences,
    with_features,
)

ROWS, COLUMNS = 30, 100
"""Of the matrix."""


def cells(page: Page, features: tuple[int, ...]) -> None:
    view = page.view
    stored = page.ask(queries.inferences)
    filters.draw(page, stored)
    kept = filters.apply(page, stored)
    if kept.empty:
        header.nothing(filters.nothing(page))
        return
    columns = kept
    if len(kept) > COLUMNS:
        columns = window(kept, view.inference, COLUMNS)
        st.caption(
            f"{COLUMNS} of {len(kept)} inferences, from {columns['inference'].iloc[0]} to "
            f"{columns['inference'].iloc[-1]}: choose an inference at the side to see others."
        )
    table = page.ask(queries.feature_matrix, view.hookpoint, view.scope, features)
    table = table.merge(columns.filter(items=["inference"]), on="inference")
    if table.empty:
        header.nothing("None of these features fires in these inferences.")
        list_dialog.button(page, features, key="matrix")
        return
    drawn = matrix.chart(table, features, columns, feature_names.names(page, view.hookpoint, features))
    fields = ("feature", "inference", "peak_position")
    clicks.chart(
        drawn, fields, f"matrix {page.source.version} {hash(view)}",
        lambda cell: lead(
            "inference",
            at_inference(with_features(view, (cell["feature"],)), cell["inference"], cell["peak_position"]),
        ),
        described="Features by inferences; opacity is the maximum activation",
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        download.buttons(page, "features by inferences", table, chart=True)
        list_dialog.button(page, features, key="matrix", chosen=features)


def counts(page: Page, table: pd.DataFrame) -> None:
    st.header("Features by inferences in which they are relevant", help=terms.help("relevant_in"))
    st.caption(listed.held(table))
    feature_tables.draw(
        page, table, listed.COLUMNS, lambda to: lead("feature", with_features(page.view, (to,))),
        name="features", bars_to={"inferences": len(page.inferences)}, rows=20,
        rows_of_file=listed.whole(page), most=listed.MOST,
    )  # fmt: skip
    injection_button.of_table(page, table["feature"].tolist())


with errors_shown():
    page = open_page()
    require_inferences(page)
    with st.sidebar:
        choices.place(page)
    with header.title("Across inferences"):
        evidence_file.button(page, "across inferences", partial(saved.view_page, "across"))
    quality.notes(page)
    listed.controls(page)
    table = listed.table(page)
    features = listed.rows(page, table, ROWS)
    if not features:
        header.nothing(listed.nothing_found(page))
    else:
        st.header("Features × inferences", help=terms.help("maximum"))
        st.caption("A click on a cell, or Enter, leads to the token at which the feature is most active there.")
        cells(page, features)
        if not table.empty:
            counts(page, table)
