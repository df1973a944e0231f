"""How FVU and loss recovered spread over the inferences, one click from each."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from kthink_core import queries
from kthink_core.evidence.passport import passport_by_inference
from kthink_core.ui.parts import clicks, download, header, terms, verdict
from kthink_core.ui.parts.charts import PLAIN, Chart, quantity, tooltip
from kthink_core.ui.view.page import Page, at_inference, lead

_LOSS_AXIS = (-0.5, 1.5)
"""What is drawn of loss recovered: one inference whose model hardly needs the module can have any value."""
_HEIGHT = 260


def draw(page: Page) -> None:
    """Two charts side by side, at the view's hookpoint and scope. A click leads to the inference."""
    view = page.view
    st.header(f"By inference: {view.hookpoint}, {view.scope}", help=terms.help("fvu"))
    table = page.ask(passport_by_inference, view.hookpoint, view.scope)
    if table.empty:
        header.nothing(f"No inference has a position in scope {view.scope}.")
        return
    stored = page.ask(queries.inferences)
    signs = {one: verdict.signed(each) for one, each in zip(stored["inference"], stored["verdict"], strict=True)}
    table = table.assign(verdict=[signs[inference] for inference in table["inference"]])
    st.caption(f"Click a point to read the inference. {_spread(table['fvu'].tolist(), 'FVU')}")
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**FVU**")
        if any(value == value for value in table["fvu"].tolist()):
            _chart(page, table, "fvu", "FVU", {"zero": True})
        else:
            header.nothing("It is known of none of them.")
    with right:
        st.markdown("**Loss recovered**", help=terms.help("loss_recovered"))
        found = [value for value in table["loss_recovered"].tolist() if value == value]
        if not found:
            header.nothing("It is measured of none of them.")
        else:
            low, high = _LOSS_AXIS
            scale = {"domain": [max(low, min(0.0, *found)), min(high, max(1.0, *found))], "clamp": True}
            _chart(page, table, "loss_recovered", "Loss recovered", scale)
            beyond = sum(not low <= value <= high for value in found)
            edge = f" {beyond} beyond the edges are drawn on them." if beyond else ""
            st.caption(f"{_spread(found, 'Loss recovered')}{edge}")
    download.buttons(page, f"quality by inference at {view.hookpoint}", table)


def _chart(page: Page, table: pd.DataFrame, field: str, title: str, scale: dict[str, object]) -> None:
    spec = {
        "height": _HEIGHT,
        "mark": {"type": "circle", "size": 60, "opacity": 0.85, "cursor": "pointer", "color": PLAIN},
        "encoding": {
            "x": quantity("inference", "Inference", scale={"nice": False}, axis={"tickMinStep": 1, "format": "d"}),
            "y": quantity(field, title, scale=scale),
            "tooltip": tooltip(
                ("inference", "Inference"),
                ("verdict", "Verdict"),
                ("positions", "Positions"),
                ("fvu", "FVU", ".3f"),
                ("loss_recovered", "Loss recovered", ".3f"),
                ("kl", "KL", ".4f"),
            ),
        },
        "usermeta": download.SVG,
    }
    shown = table.loc[table[field].notna(), :].drop(columns=["ce_model", "ce_spliced", "ce_zero", "predictions"])
    view = page.view
    clicks.chart(
        Chart(shown, spec), ("inference",), f"{field} {page.source.version} {view.hookpoint} {view.scope}",
        lambda mark: lead("inference", at_inference(view, mark["inference"])), described=f"{title} by inference",
    )  # fmt: skip


def _spread(values: Sequence[float], title: str) -> str:
    """Its quartiles in words, of the values that there are."""
    found = pd.Series([value for value in values if value == value], dtype=float)
    if found.empty:
        return f"{title}: in no inference."
    low, middle, high = found.quantile([0.25, 0.5, 0.75]).tolist()
    return f"{title}: median {middle:.3f}, half of {len(found)} inferences between {low:.3f} and {high:.3f}."
