"""Type a prompt, watch the features while the model thinks."""

from functools import partial

import streamlit as st

from kthink_core.ui.live import composer, live_view, presence
from kthink_core.ui.parts import header, quality
from kthink_core.ui.steer import ways
from kthink_core.ui.view.page import errors_shown, open_page

with errors_shown():
    page = open_page()
    with header.title("Live"):
        pass
    quality.notes(page)
    with st.container():  # a place of its own: what is below stays where it is when the worker comes and goes
        found = presence.reach()
    if found is not None and presence.matches(page, found):
        latest = composer.draw(page, found, partial(ways.from_live, page))
        if latest is not None:
            live_view.draw(page, found, *latest)
