"""How well the SAEs reconstruct what they were fed: the figures that stand beside every feature."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kthink_core.config import Experiment

FVU_HELP = (
    "Fraction of variance unexplained: Σ‖x − x̂‖² ÷ Σ‖x − x̄‖² over the positions in scope, x the captured vector, "
    "x̂ its reconstruction, x̄ the mean of x. 0 is perfect; above 1 is worse than always predicting the mean."
)
L0_HELP = "Mean number of features that fire at a position in scope: Σ [activation > 0] ÷ positions."
DEAD_HELP = "Share of the hookpoint's features that never fire at any position in scope, over all inferences."


def strip(experiment: Experiment, table: pd.DataFrame) -> None:
    """One card a hookpoint."""
    for column, row in zip(st.columns(len(table)), table.to_dict("records"), strict=True):
        sae = experiment.saes[str(row["hookpoint"])]
        with column.container(border=True):
            st.markdown(f"**{row['hookpoint']}** :gray[{sae.num_latents:,} features, {sae.activation}, k = {sae.k}]")
            with st.container(horizontal=True):
                figures(row)
                st.metric("Dead", _percent(row["dead_share"]), help=DEAD_HELP, width="content")
            if row["fvu"] > 1:
                st.caption(":red[Worse than the mean: these features do not describe what they were fed.]")


def figures(row: dict[str, float]) -> None:
    st.metric("FVU", _number(row["fvu"], 3), help=FVU_HELP, width="content")
    st.metric("L0", _number(row["l0"], 1), help=L0_HELP, width="content")


def site_note(experiment: Experiment) -> None:
    """The capture site by name, and a warning where it is not what the SAEs were trained on."""
    if experiment.config.site == "residual":
        st.warning(
            "Capture site **residual**: the SAE was trained on the MLP's output; this experiment feeds it the residual "
            "stream. Expect huge activations at a few positions and a poor FVU.",
            icon=":material/warning:",
        )


def _number(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f} %"
