"""The SAE's passport: how well it describes what it was fed, at this site and at another."""

import streamlit as st

from kthink_core.ui.parts import header, quality
from kthink_core.ui.passport import audit
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import errors_shown, open_page, require_inferences

with errors_shown():
    page = open_page()
    require_inferences(page)
    with st.sidebar:
        choices.place(page)
    with header.title("Quality"):
        pass
    quality.site_note(page.experiment)
    quality.strip(page)
    audit.draw(page)
