"""The part of a page that asks what features do in its trace."""

from __future__ import annotations

import streamlit as st

from kthink_core.ui.causes import ablation_panel, attribution_panel
from kthink_core.ui.causes.traced_page import TracedPage
from kthink_core.ui.parts import terms
from kthink_core.ui.view import choices
from kthink_core.ui.view.causes_link import CAUSES

_ASKED = dict(zip(CAUSES, ("Nothing", "Without a feature", "What the answer depends on"), strict=True))

_UNDER_STEERING = {
    "ablation": "This trace was written under steering, and is read under it here, with the feature and without: what "
    "the feature still is after the steering is taken out.",
    "attribution": "This trace was written under steering, and is read under it here: contributions are of features as "
    "they are after the steering.",
}


def draw(traced: TracedPage) -> None:
    """Whoever asks for nothing pays for nothing: the worker is looked for once somebody does."""
    if len(traced.tokens) < 2:
        return
    st.header("What features do here", help=terms.help("ablation"))
    choices.pick("Ask", "does", _ASKED, traced.page, at=0)
    asked = traced.page.view.does[0]
    if traced.steered and asked in _UNDER_STEERING:
        st.caption(_UNDER_STEERING[asked])
    if asked == "ablation":
        ablation_panel.draw(traced)
    elif asked == "attribution":
        attribution_panel.draw(traced)
