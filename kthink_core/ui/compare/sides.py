"""How a feature fires in thoughts and answers, in right and wrong inferences."""

from __future__ import annotations

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn

from kthink_core.ui.parts import download, numerals, terms
from kthink_core.ui.view.page import Page

TITLES = {"think": "thinking", "answer": "answer", "right": "✓ right", "wrong": "✗ wrong"}


def draw(page: Page, table: pd.DataFrame, feature: int) -> None:
    """The answer of `queries.feature_contrast`."""
    share = numerals.column(
        "Share", table["share"].tolist(), unit="%", bar_to="largest", decimals=1, help=terms.help("share"), width=115
    )
    means, maxima = table["mean_activation"].tolist(), table["max_activation"].tolist()
    mean = numerals.column("Mean", means, decimals=2, help=terms.help("mean"), width=65)
    maximum = numerals.column("Maximum", maxima, decimals=2, help=terms.help("maximum"), width=80)
    shown = pd.DataFrame(
        {
            "side": [TITLES[side] for side in table["side"]],
            "share": share.values,
            "mean": mean.values,
            "maximum": maximum.values,
            "active": [f"{active:,} of {of:,}" for active, of in zip(table["active"], table["positions"], strict=True)],
            "inferences": table["inferences"],
        }
    )
    columns = {
        "side": TextColumn("In", width=70, pinned=True),
        "share": share.config,
        "mean": mean.config,
        "maximum": maximum.config,
        "active": TextColumn("Fires at", help="Positions at which it fires, of all positions of this side.", width=110),
        "inferences": NumberColumn("Inferences", format="%d", help="Inferences with such positions.", width=80),
    }
    st.dataframe(
        shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING, alt="How it fires on either side"
    )
    download.buttons(page, f"contrast of feature {feature}", table)
