"""The SAE's passport: how well it describes what it was fed, at this site and at another; how SAEs were trained."""

import streamlit as st

from kthink_core.ui.parts import header, quality
from kthink_core.ui.passport import audit, sheet, training_curves
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import errors_shown, open_page, require_inferences
from kthink_core.ui.view.permalink import PASSPORTS

TITLES = dict(zip(PASSPORTS, ("Figures", "Audit of the site", "Training"), strict=True))
DRAWN = dict(zip(PASSPORTS, (sheet.draw, audit.draw, training_curves.draw), strict=True))

with errors_shown():
    page = open_page()
    require_inferences(page)
    with st.sidebar:
        choices.place(page)
    with header.title("Quality"):
        pass
    quality.notes(page)
    with choices.tab("passport", TITLES, page) as chosen:
        DRAWN[chosen](page)
