"""The transcript: one inference, token by token, shaded by the activation of one feature."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.components.v2 import component

from kthink_core.store.scopes import SEGMENTS_OF, Scope

_HERE = Path(__file__).parent
_component = component(
    "kthink_transcript",
    css=(_HERE / "transcript.css").read_text(encoding="utf-8"),
    js=(_HERE / "transcript.js").read_text(encoding="utf-8"),
)


def draw(table: pd.DataFrame, trace: str, scope: Scope, feature: int) -> None:
    """Draw what `queries.transcript` answered. `trace` names the inference: the same name, the same tokens."""
    data = payload(table, trace, scope)
    if data["maximum"]:
        position = data["activations"].index(data["maximum"])
        st.caption(
            f"Shaded: activation of feature **{feature}** ÷ **{data['maximum']:.2f}**, its maximum in scope "
            f"**{scope}** of this inference (position {position}). Underlined: it fires, in scope or not."
        )
    else:
        elsewhere = " It fires outside of it, where underlined." if any(data["activations"]) else ""
        st.info(f"Feature {feature} never fires in scope {scope} of this inference.{elsewhere}", icon=":material/info:")
    _component(data=data, key="transcript")


def payload(table: pd.DataFrame, trace: str, scope: Scope) -> dict[str, Any]:
    """What the browser needs, as plain lists by position. Texts stay as they are: the browser sets them as text."""
    segments = table["segment"].tolist()
    activations = table["activation"].fillna(0).astype(float).round(4).tolist()
    counted = [value for value, segment in zip(activations, segments, strict=True) if segment in SEGMENTS_OF[scope]]
    probabilities = np.exp(table["logprob"].astype(float)).round(4)
    return {
        "trace": trace,
        "texts": table["text"].tolist(),
        "ids": table["token_id"].tolist(),
        "probabilities": [None if pd.isna(value) else value for value in probabilities.tolist()],
        "activations": activations,
        "maximum": max(counted, default=0.0),
        "bands": [
            {"segment": segment, "tokens": len(list(run)), "counts": segment in SEGMENTS_OF[scope]}
            for segment, run in groupby(segments)
        ],
    }
