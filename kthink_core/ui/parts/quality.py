"""How well the SAEs reconstruct what they were fed: the figures that stand beside every feature."""

from __future__ import annotations

import streamlit as st

from kthink_core import queries
from kthink_core.config import Experiment
from kthink_core.ui.parts import download, numerals, terms
from kthink_core.ui.parts.writing import plain
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
            if row["fvu"] >= 1:
                st.caption(":red[No better than the mean: these features do not describe what they were fed.]")
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


def notes(page: Page) -> None:
    """What a reader of any feature of the view's hookpoint must know first: a foreign capture site, and `warning`."""
    site_note(page.experiment)
    warning(page)


def warning(page: Page) -> None:
    """Beside every feature of the view's hookpoint, where its SAE is no better than the mean in the view's scope."""
    view = page.view
    fvu = _fvu(page, view.hookpoint)
    if fvu >= 1:
        st.warning(
            f"**FVU {numerals.number(fvu, 2)}** at {view.hookpoint} of {plain(page.experiment.name)}, scope "
            f"{view.scope}: what the SAE makes of the vectors is no nearer to them than their mean. Its features do "
            "not describe what passes here: what they say of a token may mean nothing. The page Quality has the "
            "figures.",
            icon=":material/warning:",
        )


def mark(page: Page, hookpoint: str) -> str:
    """Markdown behind a hookpoint's name where features of several stand beside each other; mostly empty."""
    fvu = _fvu(page, hookpoint)
    return f" :red[⚠ FVU {numerals.number(fvu, 2)}]" if fvu >= 1 else ""


def _fvu(page: Page, hookpoint: str) -> float:
    """Over all inferences, in the view's scope; NaN where it has none."""
    table = page.ask(queries.quality, page.view.scope)
    return dict(zip(table["hookpoint"], table["fvu"].tolist(), strict=True)).get(hookpoint, float("nan"))


def site_note(experiment: Experiment) -> None:
    """The capture site by name, and a warning where it is not what the SAEs were trained on."""
    if experiment.config.site == "residual":
        st.warning(
            "Capture site **residual**: the SAE was trained on the MLP's output; this experiment feeds it the residual "
            "stream. Expect huge activations at a few positions and a poor FVU.",
            icon=":material/warning:",
        )
