"""What the model writes while features are made to be something else, beside what it writes by itself."""

import streamlit as st

from kthink_core.ui.parts import header, quality
from kthink_core.ui.steer import streams
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with st.sidebar:
        if page.inferences:
            choices.inference(page)
        choices.hookpoint(page)
    with header.title("Steer"):
        pass
    quality.notes(page)
    streams.draw(page)
