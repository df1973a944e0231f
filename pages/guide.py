"""How to read the app: a guided reading, and what every figure means."""

import streamlit as st

from kthink_core.ui import guided_reading
from kthink_core.ui.parts import header
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Guide"):
        pass
    if page.inferences:
        st.header("Find a feature of thinking words")
        guided_reading.reading(page)
    st.header("What the figures mean")
    guided_reading.definitions()
