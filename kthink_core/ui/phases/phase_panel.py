"""Think or word? How often a feature fires on the same token inside a thought and outside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.column_config import TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.evidence import think_or_word
from kthink_core.evidence.phase_finding import Finding
from kthink_core.ui.parts import download, header, numerals, terms
from kthink_core.ui.parts.writing import token_label
from kthink_core.ui.view.page import Page

_SHOWN = 100
"""Tokens of the table."""
_SIDES = {"think": "Inside", "answer": "Outside"}
_PARTS = {
    "difference": ("Inside less outside", ""),
    "words": ("… its words: other tokens stand there", "words_"),
    "phase": ("… the phase: on the same token it fires otherwise", "phase_"),
    "one_sided": ("… neither: tokens that are not compared", "one_sided_"),
}
_NOTHING: tuple[Finding, ...] = ("silent", "one phase")


def draw(page: Page, feature: int) -> None:
    """The tab of the feature's page."""
    st.header("Does it follow the word or the phase?", help=terms.help("think_or_word"))
    whole = page.ask(think_or_word.think_or_word, page.view.hookpoint, feature)
    row: dict[str, Any] = whole.iloc[0].to_dict()
    said = think_or_word.remarks(whole)
    if row["finding"] in _NOTHING:
        header.nothing(" ".join(said))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(row["finding"], icon=":material/psychology:", color="gray")
        st.markdown(" ".join(said))
    st.caption(f"{_counted(row)} Whatever the page's scope: thoughts and answers of all inferences.")
    if row["finding"] != "too few":
        _parts(row)
    tokens = page.ask(think_or_word.think_or_word_tokens, page.view.hookpoint, feature, top=_SHOWN)
    _tokens(tokens, int(row["tokens"]))
    download.buttons(page, f"think or word of feature {feature}", tokens)


def _counted(row: Mapping[str, Any]) -> str:
    sides = (
        f"{name.lower()} a thought at {int(row[f'{side}_active']):,} of {int(row[f'{side}_positions']):,} positions "
        f"({numerals.percent(row[f'{side}_share'])})"
        for side, name in _SIDES.items()
    )
    return f"In all it fires {', '.join(sides)}; {int(row['problems']):,} problems have both."


def _parts(row: Mapping[str, Any]) -> None:
    """The difference and what it is made of, in points of 100."""
    names = ("value", "low", "high")
    columns: dict[str, ColumnConfig] = {"part": TextColumn("Share of positions", width=310)}
    figures = [(row[name], row[f"{prefix}low"], row[f"{prefix}high"]) for name, (_, prefix) in _PARTS.items()]
    shown = pd.DataFrame({"part": [title for title, _ in _PARTS.values()]})
    titles = zip(names, ("Points", "From", "To"), 100 * np.array(figures).T, strict=True)
    for name, title, values in titles:
        term = "think_or_word" if name == "value" else "phase_interval"
        shown[name], columns[name] = numerals.column(
            title, values.tolist(), decimals=2, help=terms.help(term), width=70
        )  # fmt: skip
    st.dataframe(
        shown, hide_index=True, column_config=columns, width="content", placeholder=numerals.MISSING,
        alt="The difference and its parts",
    )  # fmt: skip


def _tokens(table: pd.DataFrame, of: int) -> None:
    st.subheader("On the same token")
    if of > len(table):
        st.caption(f"The first {len(table)} of {of:,} tokens: those that are compared, then by how often it fires.")
    pairs = zip(table["text"], table["token_id"], strict=True)
    shown = pd.DataFrame({"token": [token_label(text, token_id) for text, token_id in pairs]})
    columns: dict[str, ColumnConfig] = {
        "token": TextColumn("Token", help=terms.help("top_tokens"), pinned=True, width=110)
    }
    for side, title in _SIDES.items():
        share = f"{side}_share"
        shown[share], columns[share] = numerals.column(
            title, table[share].tolist(), unit="%", bar_to=1, decimals=1, help=terms.help("token_interval"), width=110
        )  # fmt: skip
        counts = zip(table[f"{side}_active"], table[f"{side}_positions"], strict=True)
        shown[f"{side}_counts"] = [f"{active:,} of {positions:,}" for active, positions in counts]
        columns[f"{side}_counts"] = TextColumn(
            "Fires at", help="Times that it fires, of those that it stands there.", width=95
        )
        ends = zip(table[f"{side}_low"], table[f"{side}_high"], strict=True)
        shown[f"{side}_interval"] = [_interval(low, high) for low, high in ends]
        columns[f"{side}_interval"] = TextColumn("95 %", help=terms.help("token_interval"), width=95)
    shown["points"], columns["points"] = numerals.column(
        "Points", (100 * table["points"]).tolist(), decimals=2, help=terms.help("points"), width=80
    )
    shown["compared"] = ["yes" if comparable else "no" for comparable in table["comparable"]]
    columns["compared"] = TextColumn("Compared", help="Whether it stands five times or more on both sides.", width=80)
    st.dataframe(
        shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING,
        alt="How often it fires on each token, inside a thought and outside",
    )  # fmt: skip


def _interval(low: float, high: float) -> str:
    return numerals.MISSING if pd.isna(low) else f"{100 * low:.0f} to {100 * high:.0f} %"
