"""How well the SAEs reconstruct what they were fed: the figures that stand beside every feature."""

from __future__ import annotations

import streamlit as st

from kthink_core import queries
from kthink_core.config import Experiment
from kthink_core.ui.parts import download, numerals, terms
from kthink_core.ui.view.page import Page


def strip(page: Page) -> None:
    """One card a hookpoint, over the view's scope."""
    table = page.ask(queries.quality, page.view.scope)
    for column, row in zip(st.columns(len(table)), table.to_dict("records"), strict=True):
        sae = page.experiment.saes[str(row["hookpoint"])]
        with column.container(border=True):
            kept = "" if sae.k is None else f", k = {sae.k}"
            st.markdown(f"**{row['hookpoint']}** :gray[{sae.num_latents:,} features, {sae.activation}{kept}]")
            with st.container(horizontal=True):
                st.metric("FVU", numerals.number(row["fvu"], 3), help=terms.help("fvu"), width="content")
                st.metric("L0", numerals.number(row["l0"], 1), help=terms.help("l0"), width="content")
                st.metric("Dead", numerals.percent(row["dead_share"]), help=terms.help("dead"), width="content")
            if row["fvu"] > 1:
                st.caption(":red[Worse than the mean: these features do not describe what they were fed.]")
    hookpoints = ", ".join(table["hookpoint"])
    download.buttons(page, f"quality of {page.experiment.name}", table, hookpoint=hookpoints)


def line(page: Page) -> None:
    """How well the view's inference is reconstructed at the view's hookpoint, in scope."""
    view = page.view
    table = page.ask(queries.quality, view.scope, view.inference)
    row = next(row for row in table.to_dict("records") if row["hookpoint"] == view.hookpoint)
    st.caption(
        f"{view.hookpoint} in this inference: FVU {numerals.number(row['fvu'], 3)}, L0 {numerals.number(row['l0'], 1)}",
        help=terms.help("fvu"),
    )


def site_note(experiment: Experiment) -> None:
    """The capture site by name, and a warning where it is not what the SAEs were trained on."""
    if experiment.config.site == "residual":
        st.warning(
            "Capture site **residual**: the SAE was trained on the MLP's output; this experiment feeds it the residual "
            "stream. Expect huge activations at a few positions and a poor FVU.",
            icon=":material/warning:",
        )
