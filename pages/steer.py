"""What the model writes while features are made to be something else, beside what it writes by itself."""

import streamlit as st

from kthink_core.ui.parts import header, quality
from kthink_core.ui.steer import streams, sweep_panel
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import errors_shown, open_page
from kthink_core.ui.view.permalink import STEERED

TITLES = dict(zip(STEERED, ("Streams", "Sweep"), strict=True))
DRAWN = dict(zip(STEERED, (streams.draw, sweep_panel.draw), strict=True))

with errors_shown():
    page = open_page()
    with st.sidebar:
        if page.inferences and page.view.steered == STEERED[0]:  # a sweep is of all problems
            choices.inference(page)
        choices.hookpoint(page)
    with header.title("Steer"):
        pass
    quality.notes(page)
    with choices.tab("steered", TITLES, page) as tab:
        DRAWN[tab](page)
