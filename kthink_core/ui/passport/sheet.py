"""The passport's figures: by hookpoint and scope, and of the view's inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import streamlit as st
from streamlit.column_config import NumberColumn, TextColumn
from streamlit.elements.lib.column_types import ColumnConfig

from kthink_core.evidence.passport import FEWEST, passport
from kthink_core.queries import SCOPES
from kthink_core.ui.parts import clicks, download, numerals, terms
from kthink_core.ui.passport import by_inference, lengths
from kthink_core.ui.view.page import Page, go

_MEASURES: dict[str, tuple[str, int, str, str, int]] = {
    "fvu": ("FVU", 3, "", "fvu", 60),
    "loss_recovered": ("Loss recovered", 3, "", "loss_recovered", 104),
    "low": ("At least", 3, "", "loss_recovered_interval", 60),
    "high": ("At most", 3, "", "loss_recovered_interval", 61),
    "kl": ("KL", 4, "", "kl", 78),
    "l0": ("L0", 1, "", "l0", 48),
    "dead": ("Dead", 1, "%", "dead", 54),
    "cut": ("Cut", 0, "", "cut", 48),
    "sinks": ("Sinks", 0, "", "sink", 52),
    "median_norm": ("Median ‖x‖", 2, "", "norms", 82),
    "max_norm": ("Largest ‖x‖", 2, "", "norms", 82),
    "mean_norm": ("Mean ‖x‖", 2, "", "norms", 75),
    "ce_model": ("CE", 3, "", "cross_entropy", 65),
    "ce_spliced": ("CE with x̂", 3, "", "cross_entropy", 85),
    "ce_zero": ("CE with 0", 3, "", "cross_entropy", 85),
    "predictions": ("Predictions", 0, "", "cross_entropy", 85),
}
"""By column of `passport`: title, decimals, unit, term, width in pixels. What tells of sinks is in sight on a screen
1440 pixels wide."""


def draw(page: Page) -> None:
    """The tab of the page."""
    st.header("By hookpoint and scope", help=terms.help("loss_recovered"))
    table = pd.concat([page.ask(passport, scope) for scope in SCOPES], ignore_index=True)
    order = {hookpoint: number for number, hookpoint in enumerate(page.experiment.saes)}
    table = table.sort_values("hookpoint", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    st.caption(f"Click a row for its hookpoint and scope. {_said(page, table)}")

    def chosen(row: int) -> None:
        hookpoint, scope = str(table["hookpoint"][row]), str(table["scope"][row])
        same = hookpoint == page.view.hookpoint  # else a feature's number means another one
        there = page.view if same else replace(page.view, feature=None, also=(), watch=(), locked=None)
        go(replace(there, hookpoint=hookpoint, scope=next(each for each in SCOPES if each == scope)))

    _table(page, table, f"passport {page.source.version}", chosen, rows=len(table))
    download.buttons(page, "quality by hookpoint and scope", table, hookpoint=", ".join(order), scope="every")
    of_inference(page)
    by_inference.draw(page)
    lengths.draw(page)


def of_inference(page: Page) -> None:
    """The same figures of the view's inference, in the view's scope."""
    view = page.view
    st.header(f"Inference {view.inference}, {view.scope}", help=terms.help("scope"))
    table = page.ask(passport, view.scope, inference=view.inference)
    _table(page, table, f"passport {page.source.version} {view.inference}", None, rows=len(table))
    download.buttons(page, f"quality of inference {view.inference}", table, hookpoint=", ".join(table["hookpoint"]))


def _table(page: Page, table: pd.DataFrame, key: str, choose: Callable[[int], None] | None, rows: int) -> None:
    left_out = set() if choose is not None else {"low", "high"}
    if all(sae.most is None for sae in page.experiment.saes.values()):
        left_out.add("cut")
    measures = [name for name in _MEASURES if name not in left_out]
    shown = pd.DataFrame({"hookpoint": [_marked(*pair) for pair in zip(table["hookpoint"], table["fvu"], strict=True)]})
    columns: dict[str, ColumnConfig] = {
        "hookpoint": TextColumn("Hookpoint", width=108, pinned=True, help="⚠: FVU of 1 or more.")
    }
    if choose is not None:
        shown["scope"], columns["scope"] = table["scope"], TextColumn("Scope", width=76, pinned=True)
    shown["positions"] = table["positions"]
    columns["positions"] = NumberColumn("Positions", format="%d", width=71)
    for name in measures:
        title, decimals, unit, term, width = _MEASURES[name]
        shown[name], columns[name] = numerals.column(
            title, table[name].tolist(), decimals=decimals, unit=unit, help=terms.help(term), width=width
        )
    if choose is not None:
        described = "Quality of the SAEs by hookpoint and scope"
        clicks.table(shown, columns, key, choose, rows=rows, described=described)
    else:
        st.dataframe(
            shown, hide_index=True, column_config=columns, placeholder=numerals.MISSING,
            alt=f"Quality of the SAEs in inference {page.view.inference}",
        )  # fmt: skip


def _marked(hookpoint: str, fvu: float) -> str:
    return f"{hookpoint} ⚠" if fvu >= 1 else hookpoint


def _said(page: Page, table: pd.DataFrame) -> str:
    """What there is too little of."""
    everywhere = table.loc[table["scope"] == "all", "inferences"]
    measured, stored = int(everywhere.min()), len(page.inferences)
    if page.experiment.open_ended:
        return "Kept live runs are not measured: they have no loss recovered and no KL."
    if measured < stored and page.experiment.is_imported:
        return f"Loss recovered and KL of {measured} of {stored} inferences came along with the imported file."
    if measured < stored:
        left = f"{measured} of {stored} inferences are measured; `precompute`, or the worker, measures the others"
        return f"Loss recovered and KL: {left}, once all are generated."
    if measured < FEWEST:
        return f"An interval takes {FEWEST} inferences; there are {measured}."
    return f"Intervals: 95 %, by resampling the {measured} inferences."
