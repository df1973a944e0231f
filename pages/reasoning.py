"""Are these features of reasoning? Candidates, and the tests that can say no."""

import streamlit as st

from kthink_core.ui.parts import header, quality
from kthink_core.ui.reasoning import contrasts, families, scores
from kthink_core.ui.view import choices
from kthink_core.ui.view.page import errors_shown, open_page, require_inferences
from kthink_core.ui.view.permalink import TESTS

TITLES = dict(zip(TESTS, ("ReasonScore", "Contrasts", "Families"), strict=True))
DRAWN = dict(zip(TESTS, (scores.draw, contrasts.draw, families.draw), strict=True))

with errors_shown():
    page = open_page()
    require_inferences(page)
    with st.sidebar:
        choices.place(page)
    with header.title("Reasoning"):
        pass
    quality.notes(page)
    with choices.tab("test", TITLES, page) as test:
        DRAWN[test](page)
