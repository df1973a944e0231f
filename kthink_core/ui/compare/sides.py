"""How a feature fires in thoughts and answers, in right and wrong inferences."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, ProgressColumn, TextColumn

from kthink_core.ui.parts import download, terms
from kthink_core.ui.view.page import Page

TITLES = {"think": "thinking", "answer": "answer", "right": "✓ right", "wrong": "✗ wrong"}


def draw(page: Page, table: pd.DataFrame, feature: int) -> None:
    """The answer of `queries.feature_contrast`."""
    shown = pd.DataFrame(
        {
            "side": [TITLES[side] for side in table["side"]],
            "share": table["share"],
            "mean": table["mean_activation"],
            "maximum": table["max_activation"],
            "active": [f"{active:,} of {of:,}" for active, of in zip(table["active"], table["positions"], strict=True)],
            "inferences": table["inferences"],
        }
    )
    highest = max((share for share in table["share"].tolist() if share == share), default=1.0)
    columns = {
        "side": TextColumn("In", width=70, pinned=True),
        "share": ProgressColumn(
            "Share",
            format="percent",
            min_value=0,
            max_value=highest or 1.0,
            help=terms.help("share"),
            width=115,
        ),
        "mean": NumberColumn("Mean", format="%.2f", help=terms.help("mean"), width=65),
        "maximum": NumberColumn("Maximum", format="%.2f", help=terms.help("maximum"), width=80),
        "active": TextColumn("Fires at", help="Positions at which it fires, of all positions of this side.", width=110),
        "inferences": NumberColumn("Inferences", format="%d", help="Inferences with such positions.", width=80),
    }
    st.dataframe(shown, hide_index=True, column_config=columns, alt="How it fires on either side")
    download.buttons(page, f"contrast of feature {feature}", table)
